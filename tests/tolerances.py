"""How far a kernel may end from its reference, for every operation and each array that it writes.

The judge is the reference kernel in wider arithmetic: float64 for float32, the platform's long double (80 bits on x86)
for float64. A tolerance is an absolute error per element, made of the sizes of the numbers that were rounded on the
way to it: a sum of K terms may be off by K u times the sum of their magnitudes, an update by some ulp of the largest
number that took part, everything that only moves numbers by nothing. `u` is half an epsilon, the largest relative
error of one rounding. An operation that is not named here has DEFAULT ulp of its result.

tests/test_kernels.py shows that each tolerance refuses what lies just outside it, and kernels that are wrong in kind.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnn.kernels import OPERATIONS
from fastnn.kernels.reference.low_precision import bf16

Array = np.ndarray[Any, Any]

DEFAULT = 4
"""ulp of the result, where nothing else is said: a few roundings, none of them magnified."""


@dataclass(frozen=True)
class Outcome:
    """One run of the judge: arguments before and after it, in wide arithmetic, and the dtype of the kernel's arrays."""

    before: dict[str, Any]
    after: dict[str, Any]
    dtype: np.dtype[Any]

    @property
    def u(self) -> float:
        """The largest relative error of one rounding."""
        return float(np.finfo(self.dtype).eps) / 2

    @property
    def tiny(self) -> float:
        """The smallest normal number; exponentials below it may be flushed to zero."""
        return float(np.finfo(self.dtype).smallest_normal)

    def ulp(self, size: Array) -> Array:
        """The distance of neighbouring numbers of the kernel's dtype at this size; of numbers not finite: NaN."""
        with np.errstate(all="ignore"):
            return np.spacing(np.abs(size).astype(self.dtype)).astype(size.dtype)

    def largest(self, *names: str) -> Array:
        """Elementwise, the largest magnitude that these arrays had before or after."""
        return np.max([np.abs(values[name]) for name in names for values in (self.before, self.after)], axis=0)


Bound = Callable[[Outcome], dict[str, Array]]
_BOUNDS: dict[str, Bound] = {}


def bound_of(*operations: str) -> Callable[[Bound], Bound]:
    """Enters the tolerances of some operations: array -> largest error of each of its elements."""

    def enter(function: Bound) -> Bound:
        _BOUNDS.update(dict.fromkeys(operations, function))
        return function

    return enter


def has_bound(operation: str) -> bool:
    """Whether an operation has a tolerance of its own, and not DEFAULT ulp of its result."""
    return operation in _BOUNDS


def allowed(operation: str, array: str, outcome: Outcome) -> Array:
    """The largest error of each element of an array that an operation has written."""
    bounds = _BOUNDS[operation](outcome) if operation in _BOUNDS else {}
    return bounds[array] if array in bounds else DEFAULT * outcome.ulp(outcome.after[array])


def excess(got: Array, expected: Array, allowed: Array | float) -> float:
    """The largest error in units of what is allowed; infinite where one is finite or a number and the other is not."""
    if not got.size:
        return 0.0
    with np.errstate(all="ignore"):
        rounded = expected.astype(got.dtype)
        error = np.abs(got - expected)
        error = np.where(np.isnan(error), np.inf, error)
        ratio = np.where(error <= allowed, error / np.maximum(allowed, np.finfo(np.float64).tiny), np.inf)
        ratio = np.where((error > allowed) & (allowed > 0), error / allowed, ratio)
        special = ~np.isfinite(rounded)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        return float(np.max(np.where(special, np.where(same, 0.0, np.inf), ratio)))


# What moves or selects numbers rounds nothing.


@bound_of(
    "relu_forward", "relu_backward", "hard_tanh_forward", "hard_tanh_backward", "gather_rows", "gather_labels",
    "gather_weights", "rows_to_features", "features_to_rows", "copy_features", "category_codes", "embedding_forward",
)  # fmt: skip
def _exact(o: Outcome) -> dict[str, Array]:
    return {name: np.zeros(value.shape) for name, value in o.after.items() if isinstance(value, np.ndarray)}


@bound_of("tanh_backward")
def _tanh_backward(o: Outcome) -> dict[str, Array]:
    """1 - y**2 loses what y**2 was rounded by."""
    return {"dx": 2 * o.ulp(np.abs(o.after["dy"]) * np.maximum(1, o.after["y"] ** 2))}


@bound_of("elu_backward", "selu_backward", "softsign_backward")
def _elu_backward(o: Outcome) -> dict[str, Array]:
    """y + alpha and 1 - |y| lose what they were rounded by."""
    size = np.maximum(1, np.abs(o.after["y"])) + o.before.get("alpha", 2.0)
    return {"dx": 4 * o.u * np.abs(o.after["dy"]) * size}


def _slope(o: Outcome) -> Array:
    """A derivative that is a sum of two terms, of which the first is at most 1 and both vanish like x e**x."""
    x = o.before["x"]
    return np.asarray(4 * o.u * np.minimum(1, (1 + np.abs(x)) * np.exp(np.minimum(x, 0))))


@bound_of("silu_forward_with_slope", "gelu_tanh_forward_with_slope")
def _smooth(o: Outcome) -> dict[str, Array]:
    return {"slope": _slope(o)}


@bound_of("mish_forward", "mish_forward_with_slope")
def _mish(o: Outcome) -> dict[str, Array]:
    """More roundings than elsewhere; tests/test_special.py knows how many of them the compiled kernels put back."""
    return {"y": 6 * o.ulp(o.after["y"]), "slope": _slope(o)}


@bound_of("gelu_forward", "gelu_forward_with_slope")
def _gelu(o: Outcome) -> dict[str, Array]:
    """The judge's own error function, that of Python, is off by up to 3 ulp of float64; without FMA the polynomial has
    one more rounding. tests/test_special.py is stricter."""
    return {"y": (DEFAULT + 1 + 3 * (o.dtype == np.float64)) * o.ulp(o.after["y"]), "slope": _slope(o)}


# Softmax: sums over F features; the difference from the largest is rounded, which its exponential magnifies.


def _of_softmax(o: Outcome) -> tuple[Array, Array, Array]:
    """Softmax, its relative error in u, and that of its denominator."""
    x = o.before["x"]
    shifted = x - x.max(axis=0, initial=-np.inf)
    y = np.exp(shifted) / np.exp(shifted).sum(axis=0)
    exponential = np.abs(shifted) + 6
    partition = (y * exponential).sum(axis=0) + len(x)
    return y, exponential + partition + 3, partition


@bound_of("softmax_forward")
def _softmax_forward(o: Outcome) -> dict[str, Array]:
    y, error, _ = _of_softmax(o)
    return {"y": o.u * y * error + o.tiny}


@bound_of("log_softmax_forward")
def _log_softmax_forward(o: Outcome) -> dict[str, Array]:
    _, _, partition = _of_softmax(o)
    return {"y": o.u * (3 * np.abs(o.after["y"]) + 2 * np.abs(o.before["x"]) + partition + 3)}


@bound_of("softmax_backward")
def _softmax_backward(o: Outcome) -> dict[str, Array]:
    y, dy = np.abs(o.after["y"]), np.abs(o.before["dy"])
    total = (y * dy).sum(axis=0)
    return {"dx": o.u * y * ((len(y) + 2) * total + 3 * (dy + total))}


@bound_of("log_softmax_backward")
def _log_softmax_backward(o: Outcome) -> dict[str, Array]:
    e, dy = np.exp(o.after["y"]), np.abs(o.before["dy"])
    return {"dx": o.u * (2 * dy + (len(e) + 8) * e * dy.sum(axis=0))}


# Products: K u times the sum of the terms' magnitudes holds for any order of summation, fused or not.


@bound_of("dense_forward")
def _dense_forward(o: Outcome) -> dict[str, Array]:
    weight, x = np.abs(o.before["weight"]), np.abs(o.before["x"])
    return {"y": (len(x) + 2) * o.u * (weight @ x)}


@bound_of("dense_backward_input")
def _dense_backward_input(o: Outcome) -> dict[str, Array]:
    b = o.before
    product = (len(b["dy"]) + 2) * o.u * (np.abs(b["weight"]).T @ np.abs(b["dy"]))
    if b["derivative"] == 1:
        return {"dx": product * (b["x"] > 0)}
    if b["derivative"] == 2:
        slope = abs(b["c0"]) + np.abs(b["c1"] * b["x"]) + np.abs(b["c2"]) * b["x"] ** 2
        return {"dx": product * slope + 4 * o.u * slope * np.abs(b["weight"].T @ b["dy"])}
    if b["derivative"] == 3:
        slope = np.where(b["x"] > 0, abs(b["c2"]), abs(b["c0"]) + np.abs(b["c1"] * b["x"]))
        return {"dx": product * slope + 4 * o.u * slope * np.abs(b["weight"].T @ b["dy"])}
    return {"dx": product}


@bound_of("dense_backward_weight")
def _dense_backward_weight(o: Outcome) -> dict[str, Array]:
    dy, x = np.abs(o.before["dy"]), np.abs(o.before["x"])
    total = dy @ x.T
    if o.before["accumulate"]:
        total += np.abs(o.before["dweight"])
    return {"dweight": (dy.shape[1] + 2) * o.u * total}


@bound_of("add_parts")
def _add_parts(o: Outcome) -> dict[str, Array]:
    parts = np.abs(o.before["parts"])
    return {"total": len(parts) * o.u * parts.sum(axis=0)}


@bound_of("embedding_backward")
def _embedding_backward(o: Outcome) -> dict[str, Array]:
    """A sum over the rows of each category."""
    b = o.before
    total, terms = np.zeros(b["dtable"].shape), np.zeros(b["dtable"].shape[1])
    np.add.at(total, (slice(None), b["codes"]), np.abs(b["dy"]).astype(np.float64))
    np.add.at(terms, b["codes"], 1)
    if b["accumulate"]:
        total += np.abs(b["dtable"]).astype(np.float64)
    return {"dtable": (terms + 1) * o.u * total}


@bound_of("standardize")
def _standardize(o: Outcome) -> dict[str, Array]:
    """A difference and a quotient, each rounded once."""
    return {"y": 2 * o.ulp(o.after["y"])}


# The same of operands rounded to bfloat16, which is part of the definition and no error.


def _rounded(o: Outcome, *names: str) -> Outcome:
    return replace(o, before={**o.before, **{name: bf16(o.before[name]) for name in names}})


@bound_of("dense_forward_bf16")
def _dense_forward_bf16(o: Outcome) -> dict[str, Array]:
    return _dense_forward(_rounded(o, "weight", "x"))


@bound_of("dense_backward_input_bf16")
def _dense_backward_input_bf16(o: Outcome) -> dict[str, Array]:
    return _dense_backward_input(_rounded(o, "weight", "dy"))


@bound_of("dense_backward_weight_bf16")
def _dense_backward_weight_bf16(o: Outcome) -> dict[str, Array]:
    return _dense_backward_weight(_rounded(o, "dy", "x"))


# Losses: the gradient's unit is that of the two numbers whose difference it is, a value's that of all its terms.


def _weights(o: Outcome) -> Any:
    return o.before["weights"] if o.before["weighted"] else 1.0


def _loss(o: Outcome, dz: Array, terms: Array) -> dict[str, Array]:
    """From what is off in each gradient, and from the magnitudes that each term is made of, in units of u."""
    weight, scale = _weights(o), o.before["scale"]
    total = scale * (weight * terms).sum()
    return {
        "dz": weight * scale * (o.u * (dz + 3 * np.abs(o.after["dz"] / (weight * scale))) + o.tiny),
        "loss": np.array([o.u * (terms.size + 8) * total]),
    }


@bound_of("cross_entropy", "soft_cross_entropy")
def _cross_entropy(o: Outcome) -> dict[str, Array]:
    z, scale, smoothing, weight = o.before["z"], o.before["scale"], o.before["label_smoothing"], _weights(o)
    classes, rows = z.shape
    shifted = z - z.max(axis=0, initial=-np.inf)
    softmax = np.exp(shifted) / np.exp(shifted).sum(axis=0)
    # e**(z - top): the difference is rounded, which its exponential magnifies by its size; 6: 2.5 ulp of NumPy's exp.
    exponential = np.abs(shifted) + 6
    partition = (softmax * exponential).sum(axis=0) + classes
    hit = o.before.get("targets", np.zeros(z.shape)).copy()
    if "labels" in o.before:
        hit[o.before["labels"], np.arange(rows)] = 1
    hit = (1 - smoothing) * hit + smoothing / max(classes, 1)
    soft = 0 if smoothing == 0 and "labels" in o.before else classes + 2  # sums over classes that labels have not
    wanted = (hit * np.abs(shifted)).sum(axis=0)
    value = np.log(np.exp(shifted).sum(axis=0))
    terms = partition + (8 + soft) * value + (1 + soft) * wanted + rows * (value + wanted)
    unit = softmax * (exponential + partition + 4 + soft) + (3 + 2 * (soft > 0)) * hit
    return {
        "dz": weight * scale * (o.u * (unit + (softmax + hit) * (np.asarray(o.before["weighted"]) > 0)) + o.tiny),
        "loss": np.array([scale * o.u * (weight * terms).sum()]),
    }


@bound_of("mse")
def _mse(o: Outcome) -> dict[str, Array]:
    return {"loss": (o.before["z"].size + 4) * o.u * np.abs(o.after["loss"])}


@bound_of("mae", "quantile", "hinge", "squared_hinge", "huber")
def _one_difference(o: Outcome) -> dict[str, Array]:
    """Each term is a few roundings of what it is: all of one sign."""
    return {"loss": (o.before["z"].size + 8) * o.u * np.abs(o.after["loss"])}


@bound_of("log_cosh")
def _log_cosh(o: Outcome) -> dict[str, Array]:
    size = np.abs(o.before["z"] - o.before["targets"])
    small = size < 0.8
    return _loss(o, 4 * np.tanh(size), np.where(small, 3 * size * size, 2 * size + 1))


@bound_of("poisson")
def _poisson(o: Outcome) -> dict[str, Array]:
    z, t = o.before["z"], o.before["targets"]
    return _loss(o, 5 * np.exp(z), np.exp(z) + np.abs(z * t))


@bound_of("gaussian")
def _gaussian(o: Outcome) -> dict[str, Array]:
    b, weight = o.before, _weights(o)
    s = np.maximum(b["log_var"], b["log_eps"])
    # A bound that was rounded to the dtype moves all that it bounds.
    inverse, difference = np.exp(-s), np.abs(b["mean"] - b["targets"])
    ratio, bounded = difference**2 * inverse, np.abs(s) + 8
    terms = np.abs(s) + ratio
    return {
        "dmean": weight * b["scale"] * o.u * difference * inverse * bounded,
        "dlog_var": weight * b["scale"] * o.u * (4 + ratio * bounded),
        "loss": np.array([b["scale"] * o.u * (weight * ((terms.size + 8) * terms + ratio * bounded)).sum()]),
    }


@bound_of("bce")
def _bce(o: Outcome) -> dict[str, Array]:
    z, t = o.before["z"], o.before["targets"]
    sigmoid = 1 / (1 + np.exp(-z))
    terms = np.maximum(z, 0) + np.abs(z * t) + np.log1p(np.exp(-np.abs(z)))
    return _loss(o, 9 * sigmoid, terms)


@bound_of("binary_focal")
def _binary_focal(o: Outcome) -> dict[str, Array]:
    """exp(-gamma r): an error of r counts gamma r times."""
    z, gamma = o.before["z"], o.before["gamma"]
    s = np.where(o.before["targets"] > 0.5, z, -z)
    rest, surprise = np.logaddexp(0, s), np.logaddexp(0, -s)
    magnified = 6 * gamma * rest + 16
    slope = np.abs(o.after["dz"]) / (_weights(o) * o.before["scale"])
    return _loss(o, magnified * slope, (1 + magnified / (z.size + 8)) * np.exp(-gamma * rest) * surprise)


@bound_of("focal")
def _focal(o: Outcome) -> dict[str, Array]:
    """q**gamma: a relative error of q counts gamma times, one of its logarithm gamma log q times."""
    z, labels, gamma, weight = o.before["z"], o.before["labels"], o.before["gamma"], _weights(o)
    classes, rows = z.shape
    shifted = z - z.max(axis=0, initial=-np.inf)
    e = np.exp(shifted)
    own = e[labels, np.arange(rows)]
    rest = e.sum(axis=0) - own
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.where(rest > 0, np.log(rest / (rest + own)), 0)
        surprise = np.where(rest < own, np.log1p(rest / own), np.log(rest + own) - shifted[labels, np.arange(rows)])
    off = 2 * (np.abs(shifted).max(axis=0, initial=0) + 6 + classes)  # of q, of p and of their quotient, relatively
    magnified = gamma * (off + 4 * np.abs(log_q)) + 3 * off + 12
    terms = np.exp(gamma * log_q) * surprise * (rows + magnified)
    return {
        "dz": o.u * magnified * np.abs(o.after["dz"]) + weight * o.before["scale"] * (2 + gamma) * o.tiny,
        "loss": np.array([o.before["scale"] * (weight * (o.u * terms + o.tiny)).sum()]),
    }


def _near(o: Outcome, short: Array, *parts: Array) -> Array:
    """Where rounding may decide on which side of the margin a score lies."""
    return np.abs(short) <= 3 * o.u * sum(np.abs(part) for part in parts)


@bound_of("margin_ranking")
def _margin_ranking(o: Outcome) -> dict[str, Array]:
    z, margin, weight = o.before["z"], o.before["margin"], _weights(o)
    short = margin - o.before["targets"] * (z[:1] - z[1:])
    sizes = np.abs(z[:1]) + np.abs(z[1:]) + margin
    terms = np.where(short > 0, sizes, 0)
    return {
        "dz": weight * o.before["scale"] * (4 * o.u + _near(o, short, sizes)) + 0 * z,
        "loss": np.array([o.u * (terms.size + 8) * o.before["scale"] * (weight * terms).sum()]),
    }


@bound_of("multi_class_hinge")
def _multi_class_hinge(o: Outcome) -> dict[str, Array]:
    b, weight, rows = o.before, _weights(o), np.arange(o.before["z"].shape[1])
    sizes = b["margin"] + np.abs(b["z"]) + np.abs(b["z"][b["labels"], rows])
    short = b["margin"] - b["z"][b["labels"], rows] + b["z"]
    short[b["labels"], rows] = 0
    active = np.where(short > 0, sizes, 0)
    near = _near(o, short, sizes)
    near[b["labels"], rows] = False
    if b["squared"]:
        unit, terms = 2 * o.u * (active + 4 * np.maximum(short, 0)), active * np.maximum(short, 0) * 4
    else:
        unit, terms = near + 3 * o.u * (short > 0), active
    unit[b["labels"], rows] = unit.sum(axis=0) + len(unit) * o.u * np.abs(o.after["dz"][b["labels"], rows]) / (
        np.where(weight > 0, weight, 1) * b["scale"]
    )
    return {
        "dz": weight * b["scale"] * unit + 3 * o.ulp(o.after["dz"]),
        "loss": np.array([o.u * (terms.size + 8) * b["scale"] * (weight * terms).sum()]),
    }


@bound_of("penalty")
def _penalty(o: Outcome) -> dict[str, Array]:
    b = o.before
    size = np.abs(b["weight"])
    slope = b["l1"] + 2 * b["l2"] * size
    value = (size * (b["l1"] + b["l2"] * size)).sum()
    return {
        "dweight": o.u * (4 * slope + 2 * np.abs(b["dweight"]) + slope),
        "loss": np.array([o.u * (size.size + 8) * value + 4 * np.finfo(np.float64).eps * np.abs(o.after["loss"][0])]),
    }


# Batch normalisation: sums over B rows; an error of the mean moves all rows of a feature alike.


@bound_of("batch_norm_forward")
def _batch_norm_forward(o: Outcome) -> dict[str, Array]:
    x, mean, inv_std, gamma = (o.after[name] for name in ("x", "mean", "inv_std", "gamma"))
    rows, eps, momentum = x.shape[1], o.before["eps"], o.before["momentum"]
    off_mean = (rows + 2) * o.u * np.abs(x).mean(axis=1)
    var = 1 / inv_std**2 - eps
    off_var = (rows + 4) * o.u * np.abs(var) + off_mean**2 + 2 * o.u * eps
    off_std = inv_std * (off_var * inv_std**2 / 2 + 3 * o.u)
    centred = np.abs(x - mean[:, None])
    slope = np.abs(gamma * inv_std)[:, None]
    off_slope = np.abs(gamma * off_std)[:, None] + 2 * o.u * slope
    off_y = slope * off_mean[:, None] + centred * (off_slope + 3 * o.u * slope)
    off_y += 2 * o.u * np.abs(o.after["beta"])[:, None]
    unbiased = momentum * rows / max(rows - 1, 1)
    return {
        "y": off_y,
        "mean": off_mean,
        "inv_std": off_std,
        "running_mean": momentum * off_mean + 4 * o.u * (o.largest("running_mean") + momentum * np.abs(mean)),
        "running_var": unbiased * off_var + 4 * o.u * (o.largest("running_var") + unbiased * np.abs(var)),
    }


@bound_of("batch_norm_inference")
def _batch_norm_inference(o: Outcome) -> dict[str, Array]:
    b = o.before
    slope = b["gamma"] / np.sqrt(b["running_var"] + b["eps"])
    product = slope[:, None] * (b["x"] - b["running_mean"][:, None])
    return {"y": o.u * (8 * np.abs(product) + 2 * np.abs(b["beta"])[:, None])}


@bound_of("batch_norm_backward")
def _batch_norm_backward(o: Outcome) -> dict[str, Array]:
    dy, x, gamma, mean, inv_std = (o.before[name] for name in ("dy", "x", "gamma", "mean", "inv_std"))
    rows = x.shape[1]
    x_hat = np.abs((x - mean[:, None]) * inv_std[:, None])
    off_beta = (rows + 1) * o.u * np.abs(dy).sum(axis=1)
    off_gamma = (rows + 4) * o.u * (np.abs(dy) * x_hat).sum(axis=1)
    through_beta = np.abs(o.after["dbeta"])[:, None]
    through_gamma = x_hat * np.abs(o.after["dgamma"])[:, None]
    rounded = 8 * o.u * (np.abs(dy) + (through_beta + through_gamma) / rows)
    slope = np.abs(gamma * inv_std)[:, None]
    off_dx = slope * (rounded + (off_beta[:, None] + x_hat * off_gamma[:, None]) / rows)
    return {"dx": off_dx, "dgamma": off_gamma, "dbeta": off_beta}


# Layer normalisation: the same with sums over F features; an error of the mean moves all features of a row alike.


@bound_of("layer_norm_forward")
def _layer_norm_forward(o: Outcome) -> dict[str, Array]:
    x, mean, inv_std = (o.after[name] for name in ("x", "mean", "inv_std"))
    features, eps = len(x), o.before["eps"]
    off_mean = o.before["centred"] * (features + 2) * o.u * np.abs(x).mean(axis=0)
    var = 1 / inv_std**2 - eps
    off_var = (features + 4) * o.u * np.abs(var) + off_mean**2 + 2 * o.u * eps
    off_std = inv_std * (off_var * inv_std**2 / 2 + 3 * o.u)
    off_hat = inv_std * off_mean + np.abs(x - mean) * (off_std + 3 * o.u * inv_std)
    gamma, beta = (np.abs(o.before[name])[:, None] for name in ("gamma", "beta"))
    return {"y": gamma * off_hat + 2 * o.u * beta, "mean": off_mean, "inv_std": off_std}


@bound_of("layer_norm_backward_input")
def _layer_norm_backward_input(o: Outcome) -> dict[str, Array]:
    b = o.before
    features, x_hat = len(b["x"]), (b["x"] - b["mean"]) * b["inv_std"]
    g, size = b["dy"] * b["gamma"][:, None], np.abs(x_hat)
    off_total = b["centred"] * (features + 2) * o.u * np.abs(g).sum(axis=0)
    off_product = (features + 4) * o.u * (np.abs(g) * size).sum(axis=0)
    through = b["centred"] * np.abs(g.sum(axis=0)) + size * np.abs((g * x_hat).sum(axis=0))
    rounded = 8 * o.u * (np.abs(g) + through / features)
    return {"dx": b["inv_std"] * (rounded + (off_total + size * off_product) / features)}


@bound_of("layer_norm_backward_parameters")
def _layer_norm_backward_parameters(o: Outcome) -> dict[str, Array]:
    b = o.before
    rows, dy = b["x"].shape[1], np.abs(b["dy"])
    size = {"dbeta": dy.sum(axis=1), "dgamma": (dy * np.abs((b["x"] - b["mean"]) * b["inv_std"])).sum(axis=1)}
    old = {name: np.abs(b[name]) if b["accumulate"] else 0.0 for name in size}
    return {name: (rows + 4) * o.u * (total + old[name]) for name, total in size.items()}


# Optimizers: one ulp of the parameter, old or new, and a few of its step, whose size is that of its largest part. A
# gradient that coupled decay is added to is rounded: what follows from that is found by running the judge with such
# gradients.


def _moved(o: Outcome, step: Array) -> Array:
    moved = o.ulp(o.largest("param")) + 4 * o.ulp(step * _rates(o))
    if not o.before["shrink"]:
        return moved
    b = o.before
    decay = b["shrink"] * (b["rates"] * b["decays"] if b["grouped"] else 1.0) * b["param"]
    return moved + o.ulp(np.maximum(np.abs(b["param"] - decay), o.largest("param"))) + 4 * o.ulp(decay)


def _rates(o: Outcome) -> Array | float:
    return o.before["rates"] if o.before["grouped"] else 1.0


def _gradient(o: Outcome) -> Array:
    """The gradient with coupled decay."""
    b = o.before
    return b["grad"] + b["weight_decay"] * (b["decays"] if b["grouped"] else 1.0) * b["param"]


def _gradient_error(o: Outcome) -> Array:
    b = o.before
    decay = b["weight_decay"] * (b["decays"] if b["grouped"] else 1.0) * b["param"]
    return 2 * o.u * np.abs(decay) + o.u * np.abs(_gradient(o)) if b["weight_decay"] else np.zeros_like(b["grad"])


def _rounded_gradients(name: str, o: Outcome) -> dict[str, Array]:
    """How far what is written moves when the gradient moves by its rounding."""
    error, found = _gradient_error(o), {}
    for sign in (-1, 1):
        after = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in o.before.items()}
        after["grad"] = after["grad"] + sign * error
        with np.errstate(all="ignore"):
            OPERATIONS[name].reference(**after)
        for array in OPERATIONS[name].arrays:
            if array.access == "updates":
                moved = np.abs(after[array.name] - o.after[array.name])
                found[array.name] = np.maximum(found.get(array.name, 0.0), moved)
    return found


def update_bound(name: str) -> Callable[[Bound], Bound]:
    """Enters the tolerances of an update for a gradient that is exact; DEFAULT ulp where there is none."""

    def enter(bound: Bound) -> Bound:
        def whole(o: Outcome) -> dict[str, Array]:
            own = bound(o)
            return {
                array: own.get(array, DEFAULT * o.ulp(o.after[array])) + moved
                for array, moved in _rounded_gradients(name, o).items()
            }

        bound_of(name)(whole)
        return bound

    return enter


@update_bound("sgd_update")
def _sgd(o: Outcome) -> dict[str, Array]:
    return {"param": _moved(o, o.before["lr"] * _gradient(o))}


def _velocity(o: Outcome) -> Array:
    b = o.before
    parts = np.abs(b["momentum"] * b["momentum_buffer"]), np.abs(b["weight"] * _gradient(o))
    return np.maximum(np.maximum(*parts), np.abs(o.after["momentum_buffer"]))


@update_bound("momentum_update")
def _momentum(o: Outcome) -> dict[str, Array]:
    velocity = _velocity(o)
    return {"momentum_buffer": 2 * o.ulp(velocity), "param": _moved(o, o.before["lr"] * velocity)}


@update_bound("nesterov_update")
def _nesterov(o: Outcome) -> dict[str, Array]:
    velocity = _velocity(o)
    return {"momentum_buffer": 2 * o.ulp(velocity), "param": _moved(o, 2 * o.before["lr"] * velocity)}


@update_bound("lion_update")
def _lion(o: Outcome) -> dict[str, Array]:
    b, g = o.before, _gradient(o)
    size = np.maximum(np.abs(b["exp_avg"]), np.abs(g - b["exp_avg"]))
    # Where the direction is nothing but rounding its sign may be the other one.
    direction = b["exp_avg"] + (1 - b["beta1"]) * (g - b["exp_avg"])
    turned = np.where(np.abs(direction) <= 4 * o.u * size, 2 * b["lr"] * _rates(o), 0.0)
    return {"exp_avg": 2 * o.ulp(size), "param": _moved(o, b["lr"] + 0 * g) + turned}


@update_bound("rprop_update")
def _rprop(o: Outcome) -> dict[str, Array]:
    return {"prev": 0 * o.after["prev"], "param": _moved(o, o.before["rate_scale"] * o.largest("step_size"))}


@update_bound("adagrad_update")
def _adagrad(o: Outcome) -> dict[str, Array]:
    b = o.before
    step = b["lr"] * _gradient(o) / (np.sqrt(o.after["sum"] + b["inner_eps"]) + b["eps"])
    return {"param": _moved(o, step)}


@update_bound("adadelta_update")
def _adadelta(o: Outcome) -> dict[str, Array]:
    b = o.before
    delta = np.sqrt((b["acc_delta"] + b["eps"]) / (o.after["square_avg"] + b["eps"])) * _gradient(o)
    return {"acc_delta": 8 * o.ulp(o.after["acc_delta"]), "param": _moved(o, 2 * b["lr"] * delta)}


@update_bound("rmsprop_update")
def _rmsprop(o: Outcome) -> dict[str, Array]:
    b = o.before
    step = b["lr"] * _gradient(o) / (np.sqrt(o.after["square_avg"] + b["inner_eps"]) + b["eps"])
    return {"param": _moved(o, step)}


def _with_momentum(o: Outcome, quotient: Array, error: Array | float = 0.0) -> dict[str, Array]:
    """The tolerances of a buffer of quotients, which are off by `error`, and of the parameters that it moves."""
    b = o.before
    velocity = np.maximum(np.abs(b["momentum"] * b["momentum_buffer"]), np.abs(quotient))
    velocity = np.maximum(velocity, np.abs(o.after["momentum_buffer"]))
    moved = _moved(o, b["lr"] * velocity) + b["lr"] * _rates(o) * error
    return {"momentum_buffer": 4 * o.ulp(velocity) + error, "param": moved}


@update_bound("rmsprop_momentum_update")
def _rmsprop_momentum(o: Outcome) -> dict[str, Array]:
    b = o.before
    return _with_momentum(o, _gradient(o) / (np.sqrt(o.after["square_avg"] + b["inner_eps"]) + b["eps"]))


def _centered(o: Outcome) -> tuple[dict[str, Array], Array, Array]:
    """The tolerance of the moving average of gradients; the quotient, and how far its variance may move it."""
    b, g = o.before, _gradient(o)
    mean, square = o.after["grad_avg"], o.after["square_avg"]
    off_mean = 2 * o.ulp(np.maximum(o.largest("grad_avg"), np.abs(g - b["grad_avg"]) * (1 - b["alpha"])))
    off = DEFAULT * o.ulp(square) + 2 * np.abs(mean) * off_mean + o.ulp(mean**2)
    quotients = [
        np.abs(g) / (np.sqrt(np.maximum(square - mean**2 + change, 0) + b["inner_eps"]) + b["eps"])
        for change in (0, -off, off)
    ]
    return {"grad_avg": off_mean}, quotients[0], quotients[1] - quotients[2]


@update_bound("rmsprop_centered_update")
def _rmsprop_centered(o: Outcome) -> dict[str, Array]:
    found, quotient, error = _centered(o)
    lr = o.before["lr"]
    return {**found, "param": _moved(o, lr * quotient) + lr * _rates(o) * error}


@update_bound("rmsprop_centered_momentum_update")
def _rmsprop_centered_momentum(o: Outcome) -> dict[str, Array]:
    found, quotient, error = _centered(o)
    return {**found, **_with_momentum(o, quotient, error)}


def _average(o: Outcome) -> Array:
    """The largest part of the moving average of gradients."""
    return np.maximum(o.largest("exp_avg"), np.abs(_gradient(o) - o.before["exp_avg"]) * (1 - o.before["beta1"]))


@update_bound("adam_update")
def _adam(o: Outcome) -> dict[str, Array]:
    b, average = o.before, _average(o)
    denominator = np.sqrt(o.after["exp_avg_sq"]) / b["sqrt_bias_correction2"] + b["eps"]
    return {"exp_avg": 2 * o.ulp(average), "param": _moved(o, b["step_size"] * average / denominator)}


@update_bound("nadam_update")
def _nadam(o: Outcome) -> dict[str, Array]:
    b, average = o.before, _average(o)
    denominator = np.sqrt(o.after["exp_avg_sq"]) / b["sqrt_bias_correction2"] + b["eps"]
    step = np.maximum(np.abs(b["grad_step"] * _gradient(o)), b["avg_step"] * average) / denominator
    return {"exp_avg": 2 * o.ulp(average), "param": _moved(o, 2 * step)}


@update_bound("radam_update")
def _radam(o: Outcome) -> dict[str, Array]:
    b, average = o.before, _average(o)
    share = b["plain_step"] + b["rectified_step"] / (np.sqrt(o.after["exp_avg_sq"]) + b["eps"])
    return {"exp_avg": 2 * o.ulp(average), "param": _moved(o, 2 * average * share)}


@bound_of("average_update")
def _average_update(o: Outcome) -> dict[str, Array]:
    return {"average": 2 * o.ulp(np.maximum(o.largest("average"), np.abs(o.before["param"])))}


@bound_of("sum_of_squares")
def _sum_of_squares(o: Outcome) -> dict[str, Array]:
    terms = o.before["x"].size + 4
    return {"total": np.array([terms * o.u * np.sum(o.before["x"] ** 2) + 2 * np.spacing(o.after["total"][0])])}


@bound_of("clip_to_norm")
def _clip_to_norm(o: Outcome) -> dict[str, Array]:
    return {"grad": 2 * o.ulp(o.after["grad"])}


@bound_of("clip_to_value")
def _clip_to_value(o: Outcome) -> dict[str, Array]:
    return {"grad": o.ulp(o.after["grad"]) * (np.abs(o.before["grad"]) > o.before["max_value"])}
