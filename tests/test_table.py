"""What a declaration of an operation says, and which declarations are refused."""

from typing import Any

import pytest

from fastnn.kernels import OPERATIONS, table
from fastnn.kernels.table import ArrayOperand, Scalar, operation


@pytest.fixture
def empty_table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table of operations without any: what a test enters is gone after it."""
    entries: dict[str, Any] = {}
    monkeypatch.setattr(table, "OPERATIONS", entries)
    return entries


def test_declaration_gives_arrays_scalars_and_what_callers_keep(empty_table: dict[str, Any]) -> None:
    @operation(
        writes="out[F,B]", updates="total[1]:float64", reads="x[K,B]^T y?mode[F,B] order[B]:int64<R data[R,F]",
        scalars="mode:int<3 count:int key:int<2**32 scale", in_place="out=y", padding="blocks", nonempty="B R",
    )  # fmt: skip
    def example(out, total, x, y, order, data, mode, count, key, scale):  # type: ignore[no-untyped-def]
        """Nothing."""

    entry = empty_table["example"]
    assert entry.arrays == (
        ArrayOperand("out", ("F", "B"), None, "writes"),
        ArrayOperand("total", ("1",), "float64", "updates"),
        ArrayOperand("x", ("K", "B"), None, "reads", transposed=True),
        ArrayOperand("y", ("F", "B"), None, "reads", optional="mode"),
        ArrayOperand("order", ("B",), "int64", "reads", below="R"),
        ArrayOperand("data", ("R", "F"), None, "reads"),
    )
    assert entry.scalars == (
        Scalar("mode", True, 3), Scalar("count", True), Scalar("key", True, 2**32), Scalar("scale"),
    )  # fmt: skip
    assert (entry.in_place, entry.padding, entry.nonempty) == (("out", "y"), "blocks", ("B", "R"))
    assert entry.sizes == ("F", "B", "K", "R")


@pytest.mark.parametrize(
    ("declaration", "match"),
    [
        ({"reads": "x"}, r"'x': expected name\[axes\]"),
        ({"reads": "x?[N]"}, r"'x\?\[N\]': expected"),
        ({"reads": "x[N]<N"}, r"'x\[N\]<N': expected"),
        ({"reads": "x[N]", "scalars": "k:float"}, "'k:float': expected"),
        ({"reads": "x[N]", "scalars": "k<3"}, "'k<3': expected"),
        ({"reads": "x[N]", "scalars": "k:int<N"}, "'k:int<N': expected"),
        ({"reads": "x[N]:int32<C", "scalars": "k"}, "example: the declaration has no C"),
        ({"reads": "x[N]", "scalars": "k", "nonempty": "B"}, "example: the declaration has no B"),
        ({"reads": "x?k[N]", "scalars": "k"}, "example: the declaration has no k"),
        ({"reads": "x[N] k[N]"}, None),
        ({"reads": "k[N] x[N]"}, r"example\('x', 'k'\): the declaration names \('k', 'x'\)"),
    ],
)
def test_declaration_that_means_nothing_is_refused(
    empty_table: dict[str, Any], declaration: dict[str, str], match: str | None
) -> None:  # fmt: skip
    def example(x, k):  # type: ignore[no-untyped-def]
        """Nothing."""

    if match is None:
        operation(**declaration)(example)
        assert list(empty_table) == ["example"]
        return
    with pytest.raises(TypeError, match=match):
        operation(**declaration)(example)
    assert not empty_table


@pytest.mark.parametrize("name", OPERATIONS)
def test_integer_arrays_that_are_read_as_indices_are_bounded(name: str) -> None:
    """All but the data that `gather_labels` copies."""
    for array in OPERATIONS[name].arrays:
        integer = array.dtype is not None and array.dtype.startswith("int") and array.access == "reads"
        assert bool(array.below) == (integer and (name, array.name) != ("gather_labels", "y"))
