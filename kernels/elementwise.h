/* What losses share whose outputs each have a target of their own: a walk over all numbers, several vectors at a time,
 * that adds up the terms and stores the slopes, weighted by row where there are weights. The C twin of
 * fastnn/kernels/numba/elementwise.py. */
#ifndef FASTNN_ELEMENTWISE_H
#define FASTNN_ELEMENTWISE_H

#include "vecmath.h"

/* Terms of a loss at `count` vectors x with targets t and, in place of x, their slopes. */
typedef void Terms(V *x, const V *t, V *term, double parameter, int count);

/* loss = scale sum w_b term and dz = scale w_b slope. Inlined, so that `terms` is no call. */
INLINE void elementwise(Matrix dz, double *loss, Matrix z, Matrix targets, const REAL *weights, int64_t C, int64_t B,
                        double scale, int64_t weighted, Terms *const terms, double parameter)
{
    V total = {0};
    for (int64_t c = 0; c < C; c++) {
        const REAL *const from = row_of(z, c), *const wanted = row_of(targets, c);
        REAL *const to = row_of(dz, c);
        int64_t b = 0;
        for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
            V x[GROUP], t[GROUP], term[GROUP];
            for (int i = 0; i < GROUP; i++) {
                x[i] = load(from + b + i * LANES);
                t[i] = load(wanted + b + i * LANES);
            }
            terms(x, t, term, parameter, GROUP);
            if (weighted) {
                for (int i = 0; i < GROUP; i++) {
                    const V weight = load(weights + b + i * LANES);
                    term[i] *= weight;
                    x[i] *= weight * (REAL)scale;
                }
            } else {
                for (int i = 0; i < GROUP; i++) {
                    x[i] *= (REAL)scale;
                }
            }
            total += sum_of_group(term);
            for (int i = 0; i < GROUP; i++) {
                store(to + b + i * LANES, x[i]);
            }
        }
        for (; b < B; b += LANES) {
            const VI valid = lanes_below(B - b);
            V x = load(from + b), t = load(wanted + b), term;
            terms(&x, &t, &term, parameter, 1);
            if (weighted) {
                const V weight = load(weights + b);
                term *= weight;
                x *= weight * (REAL)scale;
            } else {
                x *= (REAL)scale;
            }
            total += choose(valid, term, (V){0});
            store(to + b, choose(valid, x, (V){0}));
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

#endif
