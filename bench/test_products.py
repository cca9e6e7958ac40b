"""Products of dense layers under `pytest --benchmark`: see bench/products.py and bench/suite.py."""

import functools
from typing import Any

import pytest

from bench import native, products, suite

SETS = native.kernel_sets()
SHORT_BATCHES = (1, 128)
ROWS = [(*layer, batch, dtype) for layer, batch in products.selected("", None, False, 1) for dtype in products.DTYPES]
PRODUCTS = tuple(name for name in products.PRODUCTS if name != "layer")


@functools.cache
def of_layer(fan_in: int, fan_out: int, batch: int, dtype: str, full: bool) -> dict[str, suite.Row]:
    """The products of a layer, which are measured together, by name."""
    rows = products.measure((fan_in, fan_out), batch, dtype, SETS, threads=1, quick=not full)
    return {row["product"]: row for row in rows}


def measure(fan_in: int, fan_out: int, batch: int, dtype: str, full: bool, product: str) -> suite.Row:
    return of_layer(fan_in, fan_out, batch, dtype, full)[product]


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
