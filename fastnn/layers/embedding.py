"""Learnt vectors for columns of categories."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import Layout, Ref
from ..plan.compiler import Builder, Gradient, Value
from ..plan.plan import Given
from .base import Layer, _Penalized

if TYPE_CHECKING:
    from ..initializers import Initializer

Array = np.ndarray[Any, Any]
_MOST_CATEGORIES = 2**24 - 1  # float32 holds every code


@description
class Embedding(_Penalized):
    """A learnt vector for each category, in the place of the column that holds its code; other columns pass.

        Sequential([Embedding({0: (7, 3), 4: (1000, 16)}), Dense(64, "relu"), Dense(1)], inputs=6)

    columns       column of the inputs -> (categories, width): codes are whole numbers from 0 to categories - 1, stored
                  as floats beside the other columns; `(column, categories, width)` one after the other do as well
    weight_init   name or initializer of the tables (categories, width)
    l1, l2        penalties on the tables, as those of `Dense` on W: on whole tables in each step, whatever categories
                  are in the batch (Keras's embeddings_regularizer)

    It reads codes, so it stands where the inputs are: first, or behind Flatten and a Standardize that leaves its
    columns alone. Data with any other code are refused. A code for what is missing or unknown is a category like all
    others, and yours to choose. Parameters are "weight0", "weight4", by column.

    Guo and Berkhahn 2016. PyTorch's `Embedding(categories, width)` for each column, with its starting values N(0, 1)
    (Keras: uniform within 0.05) and without padding_idx; gradients are dense, as there by default.
    """

    columns: tuple[tuple[int, int, int], ...]
    weight_init: "str | Initializer" = "normal"

    def __post_init__(self) -> None:
        from ..initializers import get_initializer

        object.__setattr__(self, "columns", _columns(self.columns))
        get_initializer(self.weight_init)
        super().__post_init__()

    def outputs(self, inputs: int) -> int:
        return inputs - len(self.columns) + sum(width for _, _, width in self.columns)

    def check_place(self, inputs: int, before: tuple[Layer, ...]) -> None:
        for column, _, _ in self.columns:
            if column >= inputs:
                raise ValueError(f"Embedding: column {column} is not there, the inputs are columns 0 to {inputs - 1}")
            if not all(layer.keeps(column) for layer in before):
                raise ValueError(
                    f"Embedding: column {column} does not hold the inputs any more: let it be the first layer, or the "
                    "first behind Flatten and a Standardize that leaves the column as it is"
                )

    def check_inputs(self, X: Array, name: str) -> None:
        for column, categories, _ in self.columns:
            codes = X[:, column]
            wrong = ~((codes >= 0) & (codes < categories) & (codes == np.floor(codes)))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f"{name}: row {row}, column {column} is {codes[row]:g}, expected a whole number from 0 to "
                    f"{categories - 1}, the code of a category"
                )

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        # [width][categories]: a category's padding would be several times its vector.
        return {
            f"weight{column}": Ref(
                "parameters", layout.matrix(f"W{index}.{column}", width, categories, dtype, spare_rows=False)
            )
            for column, categories, width in self.columns
        }

    def entries(self, arrays: dict[str, Array]) -> dict[str, Array]:
        return {kind: array.T for kind, array in arrays.items()}

    def forward(self, builder: Builder, x: Value) -> Value:
        n = builder.layer
        y = builder.value(f"h{n}", self.outputs(x.features))
        looked_up: list[tuple[int, Ref, int, int]] = []
        for column, count, first, width in self._places(x.features):
            out = y.data.features(first, width)
            if count is None:
                text = f"{y.name}[{first}:{first + width}] = {x.name}[{column}:{column + width}]"
                builder.call("copy_features", text, out=out, x=x.data.features(column, width))
                continue
            slot = builder.plan.workspace.vector(f"codes{column}", builder.rows, np.int32)
            codes, table = Ref("workspace", slot), builder.parameter(f"weight{column}")
            text = f"codes{column} = {x.name}[{column}]"
            builder.call("category_codes", text, codes=codes, x=x.data.feature(column), categories=count)
            text = f"{y.name}[{first}:{first + width}] = W{n}.{column}[codes{column}]"
            builder.call("embedding_forward", text, y=out, table=table, codes=codes)
            looked_up.append((column, codes, first, width))
        builder.kept[n] = {"looked up": looked_up}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        for column, codes, first, width in builder.kept[builder.layer]["looked up"]:
            text = f"dW{builder.layer}.{column} = {dy.name}[{first}:{first + width}] by codes{column}"
            builder.call(
                "embedding_backward", text,
                dtable=builder.gradient(f"weight{column}"), dy=dy.data.features(first, width), codes=codes,
                accumulate=Given("accumulate"),
            )  # fmt: skip
        return None

    def _places(self, inputs: int) -> Iterator[tuple[int, int | None, int, int]]:
        """What the output is made of, in order: the column of the inputs that it comes from, the categories (None:
        columns passed on), and the first feature and the number of features of the output."""
        first, column = 0, 0
        for embedded, categories, width in (*self.columns, (inputs, None, 0)):
            if embedded > column:
                yield column, None, first, embedded - column
                first += embedded - column
            if categories is not None:
                yield embedded, categories, first, width
            first, column = first + width, embedded + 1


def _columns(given: Any) -> tuple[tuple[int, int, int], ...]:
    """(column, categories, width) by column."""
    name = f"Embedding(columns={given!r})"
    try:
        pairs = given.items() if isinstance(given, Mapping) else ((column, (c, w)) for column, c, w in given)
        found = {column: (categories, width) for column, (categories, width) in pairs}
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected columns with categories and width, such as {{0: (7, 3)}}") from None
    if not found or (not isinstance(given, Mapping) and len(found) < len(given)):
        raise ValueError(f"{name}: expected at least one column, and each once")
    columns = []
    for column, (categories, width) in found.items():
        column = checks.integer("Embedding", "column", column, minimum=0)
        categories = checks.integer("Embedding", "categories", categories, minimum=1, maximum=_MOST_CATEGORIES)
        columns.append((column, categories, checks.integer("Embedding", "width", width, minimum=1)))
    return tuple(sorted(columns))
