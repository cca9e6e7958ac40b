"""The tolerances can fail: each refuses a result just outside it, and kernels that are wrong in kind."""

import functools
from collections.abc import Callable
from typing import Any

import cases
import judge
import numpy as np
import pytest
import tolerances

from fastnn import ops
from fastnn.kernels import OPERATIONS
from fastnn.kernels.reference.dropout import kept

Array = np.ndarray[Any, Any]
FLOATS = [(name, array.name) for name, entry in OPERATIONS.items() for array in entry.arrays if array.access != "reads"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "array"), FLOATS)
def test_tolerance_refuses_what_lies_outside_it(name: str, array: str, dtype: str) -> None:
    entry = OPERATIONS[name]
    arguments = cases.arguments(name, dict.fromkeys(entry.sizes, 33), dtype)
    judged = judge.outcome(entry, arguments)
    expected = judged.after[array]
    limit = np.broadcast_to(tolerances.allowed(name, array, judged), expected.shape)
    got = expected.astype(arguments[array].dtype)
    assert tolerances.excess(got, expected, limit) <= 1
    place = tuple(np.random.default_rng(0).integers(0, expected.shape))
    if got.dtype.kind == "f":
        wrong = [np.nextafter((expected + s * limit).astype(got.dtype)[place], s * np.inf) for s in (1, -1)]
        wrong += [np.nan, np.inf]
    else:
        wrong = [got[place] + 1]
    for value in wrong:
        perturbed = got.copy()
        perturbed[place] = value
        assert tolerances.excess(perturbed, expected, limit) > 1


# Kernels that are wrong in kind: each takes the arguments by name and writes what it must not.

WRONG: list[tuple[str, Callable[..., None]]] = []


def wrong(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def enter(kernel: Callable[..., None]) -> Callable[..., None]:
        WRONG.append((name, kernel))
        return kernel

    return enter


def right(name: str, **arguments: Any) -> None:
    getattr(ops, name)(**arguments, backend="reference")


@wrong("dense_forward")
def without_the_last_term(y, x, weight, floor):
    right("dense_forward", y=y, x=x[:-1], weight=weight[:, :-1], floor=floor)


@wrong("dense_forward")
def last_vector_off_by_one(y, x, weight, floor):
    right("dense_forward", y=y, x=x, weight=weight, floor=floor)
    y[:, -4:] = y[:, -5:-1].copy()


@wrong("dense_forward")
def last_row_left_out(y, x, weight, floor):
    right("dense_forward", y=y[:-1], x=x, weight=weight[:-1], floor=floor)


@wrong("dense_forward")
def no_floor(y, x, weight, floor):
    np.matmul(weight, x, out=y)


@wrong("dense_forward")
def input_overwritten(y, x, weight, floor):
    right("dense_forward", y=y, x=x, weight=weight, floor=floor)
    x.flags.writeable = True
    x[-1, -1] += 1


@wrong("dense_forward")
def row_behind_the_end_written(y, x, weight, floor):
    right("dense_forward", y=y, x=x, weight=weight, floor=floor)
    np.lib.stride_tricks.as_strided(y, (len(y) + 1, y.shape[1]), y.strides)[-1] = 0


@wrong("dense_backward_input")
def derivative_with_exchanged_coefficients(dx, dy, weight, x, derivative, c0, c1, c2):
    right(
        "dense_backward_input", dx=dx, dy=dy, weight=weight, x=x, derivative=derivative, c0=c0, c1=c2, c2=c1
    )  # fmt: skip


@wrong("dense_backward_weight")
def never_accumulates(dweight, dy, x, accumulate):
    right("dense_backward_weight", dweight=dweight, dy=dy, x=x, accumulate=0)


@wrong("relu_forward")
def relu_of_the_magnitude(y, x):
    y[...] = np.abs(x)


@wrong("tanh_forward")
def tanh_by_subtraction(y, x):
    e = np.exp(2 * x)
    y[...] = (e - 1) / (e + 1)


@wrong("tanh_backward")
def tanh_derivative_of_the_input(dx, dy, y):
    dx[...] = dy * (1 - np.tanh(y) ** 2)


@wrong("sigmoid_backward")
def sigmoid_derivative_squared(dx, dy, y):
    dx[...] = dy * (1 - y * y)


@wrong("dropout_forward")
def mask_shifted_by_one_row(y, x, key, threshold, scale, first):
    mask = kept((len(x), x.shape[1] + 1), key, threshold, first)[:, 1:]
    y[...] = np.where(mask, x * x.dtype.type(scale), 0)


@wrong("dropout_backward")
def mask_of_another_key(dx, dy, key, threshold, scale, first):
    right("dropout_backward", dx=dx, dy=dy, key=key ^ 1, threshold=threshold, scale=scale, first=first)


@wrong("cross_entropy")
def gradient_of_the_sum(dz, loss, z, labels, scale):
    right("cross_entropy", dz=dz, loss=loss, z=z, labels=labels, scale=scale)
    dz /= scale


@wrong("cross_entropy")
def loss_without_the_last_row(dz, loss, z, labels, scale):
    right("cross_entropy", dz=dz[:, :-1], loss=loss, z=z[:, :-1], labels=labels[:-1], scale=scale)
    part = loss.copy()
    right("cross_entropy", dz=dz, loss=loss, z=z, labels=labels, scale=scale)
    loss[...] = part


@wrong("mse")
def halved_square(dz, loss, z, targets, scale):
    right("mse", dz=dz, loss=loss, z=z, targets=targets, scale=scale / 2)


@wrong("bce")
def gradient_through_the_sigmoid_too(dz, loss, z, targets, scale):
    right("bce", dz=dz, loss=loss, z=z, targets=targets, scale=scale)
    sigmoid = 1 / (1 + np.exp(-z))
    dz *= sigmoid * (1 - sigmoid)


@wrong("bce")
def loss_of_the_negative_class_only(dz, loss, z, targets, scale):
    right("bce", dz=dz, loss=loss, z=z, targets=targets, scale=scale)
    loss[0] = scale * np.logaddexp(0, z).sum()


@wrong("batch_norm_forward")
def biased_running_variance(y, mean, inv_std, running_mean, running_var, x, gamma, beta, eps, momentum):
    old = running_var.copy()
    right(
        "batch_norm_forward", y=y, mean=mean, inv_std=inv_std, running_mean=running_mean, running_var=running_var,
        x=x, gamma=gamma, beta=beta, eps=eps, momentum=momentum,
    )  # fmt: skip
    running_var[...] = (1 - momentum) * old + momentum * x.var(axis=1)


@wrong("batch_norm_forward")
def eps_beside_the_root(y, mean, inv_std, running_mean, running_var, x, gamma, beta, eps, momentum):
    right(
        "batch_norm_forward", y=y, mean=mean, inv_std=inv_std, running_mean=running_mean, running_var=running_var,
        x=x, gamma=gamma, beta=beta, eps=eps, momentum=momentum,
    )  # fmt: skip
    inv_std[...] = 1 / (x.std(axis=1) + eps)


@wrong("batch_norm_inference")
def inference_without_eps(y, x, gamma, beta, running_mean, running_var, eps):
    right(
        "batch_norm_inference", y=y, x=x, gamma=gamma, beta=beta, running_mean=running_mean,
        running_var=running_var, eps=0.0,
    )  # fmt: skip


@wrong("batch_norm_backward")
def statistics_taken_as_constants(dx, dgamma, dbeta, dy, x, gamma, mean, inv_std):
    right(
        "batch_norm_backward", dx=dx, dgamma=dgamma, dbeta=dbeta, dy=dy, x=x, gamma=gamma, mean=mean, inv_std=inv_std
    )  # fmt: skip
    dx[...] = (gamma * inv_std)[:, None] * dy


@wrong("gather_rows")
def last_column_left_out(x, X, order):
    x[:, :-1] = X[order, :-1]


@wrong("features_to_rows")
def not_transposed(out, x):
    out[...] = x


@wrong("momentum_update")
def rate_inside_the_velocity(param, momentum_buffer, grad, lr, momentum):
    momentum_buffer[...] = momentum * momentum_buffer + lr * grad
    param -= momentum_buffer


@wrong("momentum_update")
def nesterov(param, momentum_buffer, grad, lr, momentum):
    momentum_buffer[...] = momentum * momentum_buffer + grad
    param -= lr * (momentum * momentum_buffer + grad)


@wrong("adagrad_update")
def adagrad_with_eps_inside(param, sum, grad, lr, eps):
    sum += grad * grad
    param -= lr * grad / np.sqrt(sum + eps)


@wrong("rmsprop_update")
def rmsprop_with_eps_inside(param, square_avg, grad, lr, alpha, eps):
    square_avg[...] = alpha * square_avg + (1 - alpha) * grad * grad
    param -= lr * grad / np.sqrt(square_avg + eps)


@wrong("adam_update")
def eps_before_the_correction(
    param, exp_avg, exp_avg_sq, grad, step_size, beta1, beta2, eps, sqrt_bias_correction2
):  # fmt: skip
    exp_avg += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    param -= step_size * exp_avg / ((np.sqrt(exp_avg_sq) + eps) / sqrt_bias_correction2)


@wrong("adam_update")
def one_minus_beta_rounded_twice(
    param, exp_avg, exp_avg_sq, grad, step_size, beta1, beta2, eps, sqrt_bias_correction2
):  # fmt: skip
    """1 - beta2 of a beta2 that was rounded to float32 before."""
    right(
        "adam_update", param=param, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq, grad=grad, step_size=step_size, beta1=beta1,
        beta2=float(np.float32(beta2)), eps=eps, sqrt_bias_correction2=sqrt_bias_correction2,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kernel"), WRONG, ids=[f"{name}-{kernel.__name__}" for name, kernel in WRONG])
def test_wrong_kernel_is_refused(name: str, kernel: Callable[..., None], dtype: str) -> None:
    entry = OPERATIONS[name]
    arguments = cases.arguments(name, dict.fromkeys(entry.sizes, 33), dtype)
    if kernel is one_minus_beta_rounded_twice:
        arguments = cases.first_step(name, arguments)  # later steps hide it
    check = functools.partial(judge.check, entry, arguments, layouts=dict.fromkeys(arguments, "rows apart"))
    check(run=functools.partial(right, name))
    with pytest.raises(AssertionError, match=name):
        check(run=kernel)
