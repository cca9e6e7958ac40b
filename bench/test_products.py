"""Products of dense layers under `pytest --benchmark`: see bench/products.py and bench/suite.py."""

from typing import Any

import pytest

from bench import native, products, suite

SETS = native.kernel_sets()
SHORT_BATCHES = (1, 128)
ROWS = [(*layer, batch, dtype) for layer, batch in products.selected("", None, False, 1) for dtype in products.DTYPES]
PRODUCTS = tuple(name for name in products.PRODUCTS if name != "layer")


_LAYERS: dict[tuple[Any, ...], dict[str, suite.Row]] = {}


def measure(fan_in: int, fan_out: int, batch: int, dtype: str, full: bool, product: str) -> suite.Row:
    """A product of a layer, all of which are measured together: the first time it is asked for, and once more if it
    is asked for again."""
    found = _LAYERS.setdefault((fan_in, fan_out, batch, dtype, full), {})
    if product not in found:
        rows = products.measure((fan_in, fan_out), batch, dtype, SETS, threads=1, quick=not full)
        found.update({row["product"]: row for row in rows})
    return found.pop(product)


MEASURED = suite.Rows("products", measure, lambda rows: products.table(list(rows), SETS))


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", *SETS])
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("fan_in", "fan_out", "batch", "dtype"), ROWS)
def test_product(
    fan_in: int, fan_out: int, batch: int, dtype: str, product: str, candidate: str, report: suite.Report, request: Any
) -> None:
    full = request.config.option.benchmark_full
    if not full and (batch not in SHORT_BATCHES or fan_in * fan_out > 2**20):
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(fan_in, fan_out, batch, dtype, full, product)
    report(row, f"{fan_in}x{fan_out}, batch {batch}, {dtype}, {product}", candidate)
