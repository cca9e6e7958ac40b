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
def gradient_of_the_sum(dz, scale, **others):
    right("cross_entropy", dz=dz, scale=scale, **others)
    dz /= scale


@wrong("cross_entropy")
def loss_without_the_last_row(dz, loss, z, labels, **others):
    right("cross_entropy", dz=dz[:, :-1], loss=loss, z=z[:, :-1], labels=labels[:-1], **{**others, "weights": None})
    part = loss.copy()
    right("cross_entropy", dz=dz, loss=loss, z=z, labels=labels, **others)
    loss[...] = part


@wrong("soft_cross_entropy")
def targets_of_the_next_class(targets, **others):
    right("soft_cross_entropy", targets=np.roll(targets, 1, axis=0), **others)


@wrong("mse")
def halved_square(scale, **others):
    right("mse", scale=scale / 2, **others)


@wrong("mae")
def subgradient_of_the_quantile(dz, **others):
    right("mae", dz=dz, **others)
    dz *= 0.5


@wrong("huber")
def smooth_l1(dz, loss, delta, **others):
    right("huber", dz=dz, loss=loss, delta=delta / 2, **others)
    for array in (dz, loss):
        array /= delta / 2


@wrong("log_cosh")
def without_log_2(loss, scale, z, **others):
    right("log_cosh", loss=loss, scale=scale, z=z, **others)
    loss[0] += scale * z.size * np.log(2)


@wrong("quantile")
def the_other_quantile(tau, **others):
    right("quantile", tau=1 - tau + 1e-5, **others)


@wrong("poisson")
def stirlings_term_too(loss, targets, scale, **others):
    right("poisson", loss=loss, targets=targets, scale=scale, **others)
    loss[0] += scale * (targets * np.log(targets) - targets).sum()


@wrong("gaussian")
def variance_taken_as_a_deviation(dmean, log_var, **others):
    right("gaussian", dmean=dmean, log_var=log_var, **others)
    dmean *= np.exp(log_var / 2)


@wrong("bce")
def gradient_through_the_sigmoid_too(dz, z, **others):
    right("bce", dz=dz, z=z, **others)
    sigmoid = 1 / (1 + np.exp(-z))
    dz *= sigmoid * (1 - sigmoid)


@wrong("bce")
def loss_of_the_negative_class_only(loss, z, scale, **others):
    right("bce", loss=loss, z=z, scale=scale, **others)
    loss[0] = scale * np.logaddexp(0, z).sum()


@wrong("binary_focal")
def power_taken_as_a_constant(dz, z, targets, **others):
    right("binary_focal", dz=dz, z=z, targets=targets, **others)
    s = np.where(targets > 0.5, z, -z)
    q = 1 / (1 + np.exp(s))
    dz *= q / (q - others["gamma"] * (1 - q) * np.log(1 - q))


@wrong("focal")
def focused_a_little_more(gamma, **others):
    right("focal", gamma=gamma + 1e-2, **others)


@wrong("hinge")
def margin_of_zero(dz, loss, z, targets, scale, **others):
    dz[...] = np.where(targets * z < 0, -targets, 0) * scale
    loss[0] = scale * np.maximum(-targets * z, 0).sum()


@wrong("squared_hinge")
def half_the_slope(dz, **others):
    right("squared_hinge", dz=dz, **others)
    dz /= 2


@wrong("margin_ranking")
def scores_exchanged(z, **others):
    right("margin_ranking", z=z[::-1], **others)


@wrong("multi_class_hinge")
def the_worst_class_alone(dz, loss, z, labels, scale, margin, **others):
    """Crammer and Singer's loss in place of Weston and Watkins's."""
    rows = np.arange(len(labels))
    short = margin - z[labels, rows] + z
    short[labels, rows] = 0
    loss[0] = scale * short.max(axis=0).sum()
    dz[...] = 0
    worst = short.argmax(axis=0)
    dz[worst, rows] += scale
    dz[labels, rows] -= scale


@wrong("penalty")
def half_the_square(dweight, loss, weight, l1, l2):
    right("penalty", dweight=dweight, loss=loss, weight=weight, l1=l1, l2=l2 / 2)


@wrong("penalty")
def no_sign(dweight, loss, weight, l1, l2):
    right("penalty", dweight=dweight, loss=loss, weight=weight, l1=l1, l2=l2)
    dweight += l1 * (1 - np.sign(weight))


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


@wrong("layer_norm_forward")
def unbiased_variance(y, mean, inv_std, x, gamma, beta, eps, centred):
    inv_std[...] = 1 / np.sqrt(x.var(axis=0, ddof=1) + eps)
    mean[...] = x.mean(axis=0)
    y[...] = (x - mean) * inv_std * gamma[:, None] + beta[:, None]


@wrong("layer_norm_forward")
def deviation_plus_eps(y, mean, inv_std, x, gamma, beta, eps, centred):
    inv_std[...] = 1 / (x.std(axis=0) + eps)
    mean[...] = x.mean(axis=0)
    y[...] = (x - mean) * inv_std * gamma[:, None] + beta[:, None]


@wrong("layer_norm_backward_input")
def mean_of_the_gradient_left_in(dx, dy, x, gamma, mean, inv_std, centred):
    right("layer_norm_backward_input", dx=dx, dy=dy, x=x, gamma=gamma, mean=mean, inv_std=inv_std, centred=0)


@wrong("layer_norm_backward_parameters")
def layer_norm_never_accumulates(dgamma, dbeta, dy, x, mean, inv_std, accumulate):
    right(
        "layer_norm_backward_parameters", dgamma=dgamma, dbeta=dbeta, dy=dy, x=x, mean=mean, inv_std=inv_std,
        accumulate=0,
    )  # fmt: skip


@wrong("add")
def second_value_left_out(out, a, b):
    out[...] = a


@wrong("category_codes")
def rounded_to_the_nearest(codes, x, categories):
    codes[...] = np.where((x >= 0) & (x < categories), np.rint(x), 0)


@wrong("embedding_backward")
def one_row_of_each_category(dtable, dy, codes, accumulate):
    dtable[:, codes] += dy


@wrong("standardize")
def times_the_rounded_reciprocal(y, x, mean, scale):
    y[...] = (x - mean[:, None]) * (1 / scale[:, None] * (1 + np.finfo(x.dtype).eps * 4))


@wrong("gather_rows")
def last_column_left_out(x, X, order):
    x[:, :-1] = X[order, :-1]


@wrong("features_to_rows")
def not_transposed(out, x):
    out[...] = x


# Updates: what all of them share is done by `decayed`, the rest in its place.


def decay(param, grad, rates, decays, weight_decay, shrink, grouped):
    factors, shares = (rates, decays) if grouped else (1.0, 1.0)
    g = grad + weight_decay * shares * param
    param -= shrink * factors * shares * param
    return g, factors


@wrong("sgd_update")
def decay_of_the_new_weights(param, grad, lr, **options):
    right("sgd_update", param=param, grad=grad, lr=lr, **options | {"shrink": 0.0})
    factors = options["rates"] * options["decays"] if options["grouped"] else 1.0
    param -= options["shrink"] * factors * param


@wrong("sgd_update")
def groups_left_out(param, grad, lr, **options):
    right("sgd_update", param=param, grad=grad, lr=lr, **options | {"grouped": 0})


@wrong("momentum_update")
def rate_inside_the_velocity(param, momentum_buffer, grad, lr, momentum, weight, **options):
    g, factors = decay(param, grad, **options)
    momentum_buffer[...] = momentum * momentum_buffer + lr * weight * g
    param -= factors * momentum_buffer


@wrong("momentum_update")
def nesterov(**arguments):
    right("nesterov_update", **arguments)


@wrong("nesterov_update")
def without_looking_ahead(**arguments):
    right("momentum_update", **arguments)


@wrong("lion_update")
def sign_of_the_new_average(param, exp_avg, grad, lr, beta1, beta2, **options):
    g, factors = decay(param, grad, **options)
    exp_avg += (1 - beta2) * (g - exp_avg)
    param -= lr * factors * np.sign(exp_avg)


@wrong("rprop_update")
def step_taken_after_a_change_of_sign(
    param, prev, step_size, grad, rate_scale, eta_minus, eta_plus, min_step, max_step, **options
):
    g, factors = decay(param, grad, **options)
    agree = np.sign(g) * np.sign(prev)
    step_size *= np.where(agree > 0, eta_plus, np.where(agree < 0, eta_minus, 1))
    np.clip(step_size, min_step, max_step, out=step_size)
    prev[...] = g
    param -= rate_scale * factors * step_size * np.sign(g)


@wrong("adagrad_update")
def adagrad_with_eps_inside(param, sum, grad, lr, eps, inner_eps, **options):
    g, factors = decay(param, grad, **options)
    sum += g * g
    param -= lr * factors * g / np.sqrt(sum + eps)


@wrong("adadelta_update")
def adadelta_with_the_new_average_of_steps(param, square_avg, acc_delta, grad, lr, rho, eps, **options):
    before = param.copy()
    right(
        "adadelta_update", param=param, square_avg=square_avg, acc_delta=acc_delta, grad=grad, lr=lr, rho=rho, eps=eps,
        **options,
    )  # fmt: skip
    g, factors = decay(before, grad, **options)
    param[...] = before - lr * factors * np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g


@wrong("rmsprop_update")
def rmsprop_with_eps_inside(param, square_avg, grad, lr, alpha, eps, inner_eps, **options):
    g, factors = decay(param, grad, **options)
    square_avg[...] = alpha * square_avg + (1 - alpha) * g * g
    param -= lr * factors * g / np.sqrt(square_avg + eps)


@wrong("rmsprop_momentum_update")
def average_of_quotients(momentum_buffer, momentum, **arguments):
    before = momentum_buffer.copy()
    right("rmsprop_momentum_update", momentum_buffer=momentum_buffer, momentum=momentum, **arguments)
    momentum_buffer[...] = momentum * before + (1 - momentum) * (momentum_buffer - momentum * before)


@wrong("rmsprop_centered_update")
def not_centered(grad_avg, alpha, grad, param, weight_decay, decays, grouped, **arguments):
    g = grad + weight_decay * (decays if grouped else 1.0) * param
    grad_avg += (1 - alpha) * (g - grad_avg)
    options = {"alpha": alpha, "grad": grad, "param": param, "weight_decay": weight_decay, "decays": decays}
    right("rmsprop_update", **options, grouped=grouped, **arguments)


@wrong("rmsprop_centered_momentum_update")
def centered_by_the_old_average(grad_avg, alpha, **arguments):
    before = grad_avg.copy()
    right("rmsprop_centered_momentum_update", grad_avg=grad_avg, alpha=alpha, **arguments)
    grad_avg[...] = before


@wrong("adam_update")
def eps_before_the_correction(
    param, exp_avg, exp_avg_sq, grad, step_size, beta1, beta2, eps, sqrt_bias_correction2, **options
):
    g, factors = decay(param, grad, **options)
    exp_avg += (1 - beta1) * (g - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    param -= step_size * factors * exp_avg / ((np.sqrt(exp_avg_sq) + eps) / sqrt_bias_correction2)


@wrong("adam_update")
def one_minus_beta_rounded_twice(beta2, **arguments):
    """1 - beta2 of a beta2 that was rounded to float32 before."""
    right("adam_update", beta2=float(np.float32(beta2)), **arguments)


@wrong("nadam_update")
def nadam_without_the_gradient(grad_step, avg_step, **arguments):
    right("nadam_update", grad_step=0.0, avg_step=grad_step + avg_step, **arguments)


@wrong("radam_update")
def radam_with_eps_inside(param, exp_avg, exp_avg_sq, grad, plain_step, rectified_step, beta1, beta2, eps, **options):
    g, factors = decay(param, grad, **options)
    exp_avg += (1 - beta1) * (g - exp_avg)
    exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * g * g
    param -= factors * exp_avg * (plain_step + rectified_step / np.sqrt(exp_avg_sq + eps))


@wrong("average_update")
def average_the_other_way_round(average, param, decay):
    right("average_update", average=average, param=param, decay=1 - decay)


@wrong("sum_of_squares")
def last_column_not_squared(total, x, accumulate):
    right("sum_of_squares", total=total, x=x[:, :-1], accumulate=accumulate)


@wrong("clip_to_norm")
def clipped_by_the_square(grad, total, max_norm):
    right("clip_to_norm", grad=grad, total=total**2, max_norm=max_norm)


@wrong("clip_to_value")
def only_from_above(grad, max_value):
    np.minimum(grad, max_value, out=grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kernel"), WRONG, ids=[f"{name}-{kernel.__name__}" for name, kernel in WRONG])
def test_wrong_kernel_is_refused(name: str, kernel: Callable[..., None], dtype: str) -> None:
    entry = OPERATIONS[name]
    options = cases.ALL_OPTIONS if name in cases.UPDATES else {}
    arguments = cases.absent(name, cases.arguments(name, dict.fromkeys(entry.sizes, 33), dtype) | options)
    if kernel is one_minus_beta_rounded_twice:
        arguments = cases.first_step(name, arguments)  # later steps hide it
    check = functools.partial(judge.check, entry, arguments, layouts=dict.fromkeys(arguments, "rows apart"))
    check(run=functools.partial(right, name))
    with pytest.raises(AssertionError, match=name):
        check(run=kernel)
