/* Penalties on weights. What lies behind a row of the gradient is left as it is: a bias may.
 * Reference: fastnn/kernels/reference/penalties.py */
#include "kernel.h"

KERNEL(penalty)
{
    const Matrix dweight = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix weight = next_matrix(&words);
    const int64_t O = next_integer(&words), I = next_integer(&words);
    const double l1 = next_scalar(&words), l2 = next_scalar(&words);
    const V one = splat((REAL)l1), square = splat((REAL)l2), twice = splat((REAL)(2 * l2));
    V total = {0};
    for (int64_t o = 0; o < O; o++) {
        for (int64_t i = 0; i < I; i += LANES) {
            const VI valid = lanes_below(I - i);
            const V w = load(row_of(weight, o) + i), grad = load(row_of(dweight, o) + i), size = absolute(w);
            total += choose(valid, size * fmadd(size, square, one), (V){0});
            const V slope = choose_less((V){0}, w, one, choose_less(w, (V){0}, -one, (V){0}));
            store(row_of(dweight, o) + i, choose(valid, grad + fmadd(w, twice, slope), grad));
        }
    }
    loss[0] = loss[0] + (double)horizontal_sum(total);
}
