"""Layer normalisation: a row is a column of lanes, and its sums run down the features, without a horizontal one.

A group of vectors side by side goes down together: one chain of additions alone would wait for each.
"""

from numba import njit

from .entry import kernel
from .groups import group, load_group, splat_group, store_group, sum_of_group
from .simd import at, fma, horizontal_sum, lanes, lanes_below, load, select, splat, sqrt, store


@njit(error_model="numpy")
def _statistics(total, squares, x, F, b, width, eps, centred, fetch):
    """Mean and 1 / deviation of the rows from b on; total and squares begin as zeros."""
    if centred:
        for f in range(F):
            total = total + fetch(x.data, f * x.stride0 + b, width)
        total = total / F
    for f in range(F):
        difference = fetch(x.data, f * x.stride0 + b, width) - total
        squares = fma(difference, difference, squares)
    return total, 1.0 / sqrt(squares / F + eps)


@njit(error_model="numpy")
def _through(total, product, dy, x, gamma, F, b, width, mean, inv_std, centred, fetch):
    """The means of g and of g x_hat; total and product begin as zeros."""
    for f in range(F):
        g = fetch(dy.data, f * dy.stride0 + b, width) * gamma[f]
        x_hat = (fetch(x.data, f * x.stride0 + b, width) - mean) * inv_std
        if centred:
            total = total + g
        product = fma(g, x_hat, product)
    return total / F, product / F


@njit(error_model="numpy")
def _fetch_one(p, i, width):
    return load(p, i)


@njit(error_model="numpy")
def _fetch_group(p, i, width):
    return load_group(p, i, width)


@njit(error_model="numpy")
def _whole_groups(x, B):
    return B // (group(x) * lanes(x)) * (group(x) * lanes(x))


@kernel
def layer_norm_forward(y, mean, inv_std, x, gamma, beta, F, B, eps, centred):
    width, whole = lanes(x.data), _whole_groups(x.data, B)
    zeros, zero = splat_group(x.data, 0.0), splat(x.data, 0.0)
    for b in range(0, whole, group(x.data) * width):
        m, s = _statistics(zeros, zeros, x, F, b, width, eps, centred, _fetch_group)
        store_group(mean, b, width, m)
        store_group(inv_std, b, width, s)
        for f in range(F):
            x_hat = (load_group(x.data, f * x.stride0 + b, width) - m) * s
            store_group(y.data, f * y.stride0 + b, width, fma(x_hat, gamma[f], beta[f]))
    for b in range(whole, B, width):
        m, s = _statistics(zero, zero, x, F, b, width, eps, centred, _fetch_one)
        store(mean, b, m)
        store(inv_std, b, s)
        for f in range(F):
            x_hat = (load(x.data, f * x.stride0 + b) - m) * s
            store(y.data, f * y.stride0 + b, fma(x_hat, gamma[f], beta[f]))


@kernel
def layer_norm_backward_input(dx, dy, x, gamma, mean, inv_std, F, B, centred):
    width, whole = lanes(x.data), _whole_groups(x.data, B)
    zeros, zero = splat_group(x.data, 0.0), splat(x.data, 0.0)
    for b in range(0, whole, group(x.data) * width):
        m, s = load_group(mean, b, width), load_group(inv_std, b, width)
        shift, slope = _through(zeros, zeros, dy, x, gamma, F, b, width, m, s, centred, _fetch_group)
        for f in range(F):
            x_hat = (load_group(x.data, f * x.stride0 + b, width) - m) * s
            g = load_group(dy.data, f * dy.stride0 + b, width) * gamma[f]
            store_group(dx.data, f * dx.stride0 + b, width, (g - shift - x_hat * slope) * s)
    for b in range(whole, B, width):
        m, s = load(mean, b), load(inv_std, b)
        shift, slope = _through(zero, zero, dy, x, gamma, F, b, width, m, s, centred, _fetch_one)
        for f in range(F):
            x_hat = (load(x.data, f * x.stride0 + b) - m) * s
            g = load(dy.data, f * dy.stride0 + b) * gamma[f]
            store(dx.data, f * dx.stride0 + b, (g - shift - x_hat * slope) * s)


@kernel
def layer_norm_backward_parameters(dgamma, dbeta, dy, x, mean, inv_std, F, B, accumulate):
    width, whole = lanes(x.data), _whole_groups(x.data, B)
    for f in range(F):
        row, grad = at(x.data, f * x.stride0), at(dy.data, f * dy.stride0)
        totals, products = splat_group(row, 0.0), splat_group(row, 0.0)
        for b in range(0, whole, group(row) * width):
            g = load_group(grad, b, width)
            totals = totals + g
            x_hat = (load_group(row, b, width) - load_group(mean, b, width)) * load_group(inv_std, b, width)
            products = fma(g, x_hat, products)
        total, product = sum_of_group(totals), sum_of_group(products)
        for b in range(whole, B, width):
            valid = lanes_below(row, B - b)
            g = select(valid, load(grad, b), 0.0)
            total = total + g
            x_hat = select(valid, (load(row, b) - load(mean, b)) * load(inv_std, b), 0.0)  # 0 * NaN is NaN
            product = fma(g, x_hat, product)
        if accumulate:
            dgamma[f] += horizontal_sum(product)
            dbeta[f] += horizontal_sum(total)
        else:
            dgamma[f] = horizontal_sum(product)
            dbeta[f] = horizontal_sum(total)
