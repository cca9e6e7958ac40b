/* Losses of yes-or-no questions: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last
 * vector count nothing. Reference: fastnn/kernels/reference/binary_losses.py */
#include "elementwise.h"

/* Terms of the loss and, in place of x, its gradient before scaling: log(1 + e**x) - x t and sigmoid(x) - t. */
INLINE void bce_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    V e[GROUP], sigmoid[GROUP];
    EACH e[i] = -absolute(x[i]);
    exp_nonpositive_of(e, count);
    EACH sigmoid[i] = choose_less(x[i], (V){0}, e[i], splat(1)) / (e[i] + 1);
    log1p_unit_of(e, count);
    EACH term[i] = fnmadd(x[i], t[i], greater_of((V){0}, x[i])) + e[i];
    EACH x[i] = sigmoid[i] - t[i];
}

KERNEL(bce)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, bce_of, 0);
}

INLINE void binary_focal_of(V *x, const V *t, V *term, const double gamma, const int count)
{
    V s[GROUP], p[GROUP], q[GROUP], tail[GROUP], power[GROUP];
    EACH s[i] = choose_less(splat((REAL)0.5), t[i], x[i], -x[i]);
    EACH tail[i] = -absolute(x[i]);
    exp_nonpositive_of(tail, count);
    EACH {
        const V sum = tail[i] + 1;
        p[i] = choose_less(s[i], (V){0}, tail[i], splat(1)) / sum;
        q[i] = choose_less(s[i], (V){0}, splat(1), tail[i]) / sum;
    }
    log1p_unit_of(tail, count);
    EACH power[i] = -((choose_less(s[i], (V){0}, (V){0}, s[i]) + tail[i]) * (REAL)gamma);
    exp_nonpositive_of(power, count);
    EACH {
        const V surprise = choose_less(s[i], (V){0}, -s[i], (V){0}) + tail[i]; /* -log p */
        const V slope = power[i] * fmadd(p[i] * (REAL)gamma, surprise, q[i]);
        term[i] = power[i] * surprise;
        x[i] = choose_less(splat((REAL)0.5), t[i], -slope, slope);
    }
}

KERNEL(binary_focal)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const double gamma = next_scalar(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, binary_focal_of, gamma);
}

INLINE void hinge_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    EACH {
        const V margin = fnmadd(x[i], t[i], splat(1));
        term[i] = choose_less(margin, (V){0}, (V){0}, margin);
        x[i] = choose_less((V){0}, margin, -t[i], (V){0});
    }
}

KERNEL(hinge)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, hinge_of, 0);
}

INLINE void squared_hinge_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    EACH {
        V margin = fnmadd(x[i], t[i], splat(1));
        margin = choose_less(margin, (V){0}, (V){0}, margin);
        term[i] = margin * margin;
        x[i] = margin * t[i] * -2;
    }
}

KERNEL(squared_hinge)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, squared_hinge_of, 0);
}

KERNEL(margin_ranking)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const V margin = splat((REAL)next_scalar(&words));
    V total = {0};
    for (int64_t b = 0; b < B; b += LANES) {
        const V t = load(row_of(targets, 0) + b);
        const V shorter = fnmadd(t, load(row_of(z, 0) + b) - load(row_of(z, 1) + b), margin);
        V term = choose_less(shorter, (V){0}, (V){0}, shorter), slope = choose_less((V){0}, shorter, t, (V){0});
        if (weighted) {
            const V weight = load(weights + b);
            term *= weight;
            slope *= weight * (REAL)scale;
        } else {
            slope *= (REAL)scale;
        }
        total += choose(lanes_below(B - b), term, (V){0});
        store(row_of(dz, 0) + b, -slope);
        store(row_of(dz, 1) + b, slope);
    }
    loss[0] = scale * (double)horizontal_sum(total);
}
