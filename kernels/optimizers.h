/* What updates share: weight decay and factors for groups of parameters. Reference: the module docstring of
 * fastnn/kernels/reference/optimizers.py; twin of the functions of the same names in fastnn/kernels/numba/optimizers.py. */
#ifndef FASTNN_OPTIMIZERS_H
#define FASTNN_OPTIMIZERS_H

#include "kernel.h"
#include "roots.h"

/* Numbers ahead of the loop that are asked for: four or more streams are too many for the hardware to foresee. Three it
 * foresees better by itself where they are long (momentum, one core of a Zen 5: 1e6 numbers 0.100 -> 0.094 ns, 1e7
 * 0.285 -> 0.266; but 240,000, around the size of L2, 0.110 -> 0.101 by asking). */
enum { AHEAD = 1024, LONG = 1 << 19 };

INLINE void prefetch3(const REAL *a, const REAL *b, const REAL *c, int64_t i, int64_t N)
{
    const int64_t ahead = i + (N < LONG ? AHEAD : 0);
    prefetch(a + ahead);
    prefetch(b + ahead);
    prefetch(c + ahead);
}

INLINE void prefetch4(const REAL *a, const REAL *b, const REAL *c, const REAL *d, int64_t i)
{
    prefetch3(a, b, c, i, 0);
    prefetch(d + i + AHEAD);
}

/* The parameters after decoupled decay, the gradient with coupled decay, and the rate of each. */
typedef struct {
    V w, g, rate;
} Decayed;

/* The gradient and the operands that follow it, and those that all updates have at their end. */
typedef struct {
    const REAL *grad, *rates, *decays;
    int64_t N;
} Gradient;

typedef struct {
    V weight_decay, shrink;
    int decays, grouped;
} Decay;

INLINE Gradient next_gradient(const int64_t **words)
{
    const REAL *grad = next_array(words), *rates = next_array(words), *decays = next_array(words);
    return (Gradient){grad, rates, decays, next_integer(words)};
}

INLINE V next_splat(const int64_t **words)
{
    return splat((REAL)next_scalar(words));
}

INLINE Decay next_decay(const int64_t **words)
{
    const double weight_decay = next_scalar(words), shrink = next_scalar(words);
    const int grouped = next_integer(words) != 0, decays = grouped || weight_decay != 0 || shrink != 0;
    return (Decay){splat((REAL)weight_decay), splat((REAL)shrink), decays, grouped};
}

/* What is not asked for costs a branch that is always foreseen. */
INLINE Decayed decayed(const REAL *param, Gradient of, int64_t i, V rate, Decay decay)
{
    const V w = load(param + i), g = load(of.grad + i);
    if (__builtin_expect(!decay.decays, 1)) {
        return (Decayed){w, g, rate};
    }
    if (decay.grouped) {
        const V factor = load(of.rates + i), share = load(of.decays + i);
        return (Decayed){fmadd(factor * share * -decay.shrink, w, w), fmadd(share * decay.weight_decay, w, g), factor * rate};
    }
    return (Decayed){fmadd(w, -decay.shrink, w), fmadd(w, decay.weight_decay, g), rate};
}

/* step with the sign of x, 0 where x is; NaN where x is NaN. */
INLINE V signed_step(V step, V x)
{
    const V zero = splat(0);
    return choose_less(zero, x, step, choose_less(x, zero, -step, x * zero));
}

#endif
