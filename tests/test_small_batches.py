"""Products of few rows take forms of their own, with roles exchanged, as dot products or in wide tiles: against the
reference, and all compiled sets with the same bits."""

import itertools

import cases
import numpy as np
import pytest

from fastnn import ops

SIZES = ((1, 5), (3, 17), (10, 65), (33, 130), (130, 3), (20, 1030), (3, 2100), (603, 250))
CASES = list(itertools.product(range(1, 18), SIZES, ("C", "F"), (0, 1, 2)))


def drawn(name, batch, sizes, order, variant, dtype):
    outputs, terms = sizes
    arguments = cases.arguments(name, {"O": outputs, "K": terms, "I": terms, "B": batch}, dtype, seed=variant)
    variants = {"derivative": variant, "floor": (0.0, -np.inf, -0.5)[variant], "accumulate": variant % 2}
    arguments |= {key: value for key, value in variants.items() if key in arguments}
    return arguments | {key: arguments[key].copy(order=order) for key in ("weight", "dweight") if key in arguments}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "result"),
    [("dense_forward", "y"), ("dense_backward_input", "dx"), ("dense_backward_weight", "dweight")],
)
def test_products_of_few_rows(name, result, dtype):
    epsilon = np.finfo(dtype).eps
    for case in CASES:
        arguments = drawn(name, *case, dtype)
        results = {}
        for backend in cases.BACKENDS:
            own = {key: a.copy(order="K") if isinstance(a, np.ndarray) else a for key, a in arguments.items()}
            getattr(ops, name)(**own, backend=backend)
            results[backend] = own[result]
        reference = results.pop("reference")
        assert len({array.tobytes() for array in results.values()}) <= 1, case
        # Terms of magnitude about 1: a sum of n is off by less than 4 n eps, a factor of the derivative by 10 times it.
        allowed = 40 * (case[0] + sum(case[1])) * epsilon
        for array in results.values():
            np.testing.assert_allclose(array, reference, rtol=allowed, atol=allowed, err_msg=str(case))
