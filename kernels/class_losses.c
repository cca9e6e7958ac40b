/* Losses of one class among several: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last
 * vector count nothing. Reference: fastnn/kernels/reference/class_losses.py */
#include "vecmath.h"

/* Where a probability counts as zero: the smallest normal number of float, of which a logarithm can be taken. */
#define TINY ((REAL)1.2e-38)

/* `count` vectors of rows from b on, side by side: one alone waits for the latency of its sums and its logarithm. (One core
 * of a Zen 5, 10 classes, 128 rows, float32: 300 -> 245 ns.) `plain` is known where this is inlined: neither weights nor
 * smoothing, and nothing is spent on them. */
INLINE void cross_entropy_rows(Matrix dz, V *terms, Matrix z, const int32_t *labels, const REAL *weights, int64_t C,
                               int64_t B, int64_t b, double scale, int64_t weighted, double label_smoothing,
                               const int plain, const int count)
{
    const double even = label_smoothing / (double)C;
    V top[GROUP], wanted[GROUP], partition[GROUP], e[GROUP], weight[GROUP], factor[GROUP], least[GROUP], most[GROUP];
    VI label[GROUP], valid[GROUP];
    EACH label[i] = widened(load_integers(labels + b + i * LANES));
    EACH valid[i] = lanes_below(B - b - i * LANES);
    EACH top[i] = wanted[i] = load(z.data + b + i * LANES);
    for (int64_t c = 1; c < C; c++) {
        EACH e[i] = load(row_of(z, c) + b + i * LANES);
        EACH top[i] = greater_of(e[i], top[i]);
        EACH wanted[i] = choose_equal(label[i], splat_integer((INT)c), e[i], wanted[i]);
    }
    EACH wanted[i] -= top[i];
    if (!plain && label_smoothing > 0) {
        EACH e[i] = (V){0};
        for (int64_t c = 0; c < C; c++) {
            EACH e[i] += load(row_of(z, c) + b + i * LANES) - top[i];
        }
        EACH wanted[i] = fmadd(wanted[i], splat((REAL)(1 - label_smoothing)), e[i] * (REAL)even);
    }
    EACH partition[i] = (V){0};
    for (int64_t c = 0; c < C; c++) {
        EACH e[i] = load(row_of(z, c) + b + i * LANES) - top[i];
        exp_nonpositive_of(e, count);
        EACH store(row_of(dz, c) + b + i * LANES, e[i]);
        EACH partition[i] += e[i];
    }
    EACH e[i] = vector_log(partition[i]) - wanted[i];
    EACH weight[i] = splat((REAL)scale);
    if (!plain && weighted) {
        EACH factor[i] = load(weights + b + i * LANES);
        EACH e[i] *= factor[i];
        EACH weight[i] = factor[i] * (REAL)scale;
    }
    EACH terms[i] = choose(valid[i], e[i], (V){0});
    EACH weight[i] = choose(valid[i], weight[i], (V){0});
    EACH factor[i] = weight[i] / partition[i];
    EACH least[i] = weight[i] * (REAL)even;
    EACH most[i] = fmadd(weight[i], splat((REAL)(1 - label_smoothing)), least[i]);
    for (int64_t c = 0; c < C; c++) {
        EACH {
            const V hit = plain ? choose(label[i] == splat_integer((INT)c), weight[i], (V){0})
                                : choose_equal(label[i], splat_integer((INT)c), most[i], least[i]);
            store(row_of(dz, c) + b + i * LANES, load(row_of(dz, c) + b + i * LANES) * factor[i] - hit);
        }
    }
}

KERNEL(cross_entropy)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words);
    const int32_t *labels = next_address(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const double label_smoothing = next_scalar(&words);
    const int plain = !weighted && !(label_smoothing > 0);
    V total = {0}, terms[GROUP];
    int64_t b = 0;
    for (; plain && b + (GROUP - 1) * LANES < B; b += GROUP * LANES) {
        cross_entropy_rows(dz, terms, z, labels, weights, C, B, b, scale, 0, 0, 1, GROUP);
        total += sum_of_group(terms);
    }
    for (; plain && b + LANES < B; b += 2 * LANES) { /* where that is no group already */
        cross_entropy_rows(dz, terms, z, labels, weights, C, B, b, scale, 0, 0, 1, 2);
        total += terms[0];
        total += terms[1];
    }
    for (; plain && b < B; b += LANES) {
        cross_entropy_rows(dz, terms, z, labels, weights, C, B, b, scale, 0, 0, 1, 1);
        total += terms[0];
    }
    for (; b < B; b += LANES) {
        cross_entropy_rows(dz, terms, z, labels, weights, C, B, b, scale, weighted, label_smoothing, 0, 1);
        total += terms[0];
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

KERNEL(soft_cross_entropy)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const double label_smoothing = next_scalar(&words);
    const REAL even = (REAL)(label_smoothing / (double)C), rest = (REAL)(1 - label_smoothing);
    V total = {0};
    for (int64_t b = 0; b < B; b += LANES) {
        const VI valid = lanes_below(B - b);
        V top = load(z.data + b);
        for (int64_t c = 1; c < C; c++) {
            top = greater_of(load(row_of(z, c) + b), top);
        }
        V partition = {0}, mass = {0}, wanted = {0};
        for (int64_t c = 0; c < C; c++) {
            const V shifted = load(row_of(z, c) + b) - top, t = load(row_of(targets, c) + b) * rest + even;
            mass += t;
            wanted = fmadd(t, shifted, wanted);
            V e = shifted;
            exp_nonpositive_of(&e, 1);
            store(row_of(dz, c) + b, e);
            partition += e;
        }
        V term = vector_log(partition) * mass - wanted, weight = splat((REAL)scale);
        if (weighted) {
            const V given = load(weights + b);
            term *= given;
            weight = given * (REAL)scale;
        }
        total += choose(valid, term, (V){0});
        const V factor = weight * mass / partition;
        for (int64_t c = 0; c < C; c++) {
            const V t = load(row_of(targets, c) + b) * rest + even;
            store(row_of(dz, c) + b, load(row_of(dz, c) + b) * factor - t * weight);
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

KERNEL(focal)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words);
    const int32_t *labels = next_address(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const REAL gamma = (REAL)next_scalar(&words);
    V total = {0};
    for (int64_t b = 0; b < B; b += LANES) {
        const VI label = widened(load_integers(labels + b)), valid = lanes_below(B - b);
        V top = load(z.data + b), wanted = top;
#pragma GCC unroll 4
        for (int64_t c = 1; c < C; c++) {
            const V value = load(row_of(z, c) + b);
            top = greater_of(value, top);
            wanted = choose_equal(label, splat_integer((INT)c), value, wanted);
        }
        V own = {0}, rest = {0};
        for (int64_t c = 0; c < C; c++) {
            V e = load(row_of(z, c) + b) - top;
            exp_nonpositive_of(&e, 1);
            store(row_of(dz, c) + b, e);
            own = choose_equal(label, splat_integer((INT)c), e, own);
            rest += choose_equal(label, splat_integer((INT)c), (V){0}, e);
        }
        const V partition = rest + own, p = own / partition, q = rest / partition, half = splat((REAL)0.5);
        V near = choose_less(q, half, rest / own, (V){0});
        log1p_unit_of(&near, 1);
        const V surprise = choose_less(q, half, near, vector_log(partition) - (wanted - top));
        const V safe = choose_less(q, splat(TINY), splat(1), q);
        V power = vector_log(safe) * gamma;
        exp_nonpositive_of(&power, 1);
        power = choose_less(q, splat(TINY), (V){0}, power);
        const V ratio = choose_less(q, splat(TINY), splat(1), surprise / safe);
        V term = power * surprise, weight = splat((REAL)scale);
        if (weighted) {
            const V given = load(weights + b);
            term *= given;
            weight = given * (REAL)scale;
        }
        total += choose(valid, term, (V){0});
        const V factor = weight * (power * fmadd(p * gamma, ratio, splat(1))) / partition;
        for (int64_t c = 0; c < C; c++) {
            const V share = choose_equal(label, splat_integer((INT)c), -rest, load(row_of(dz, c) + b));
            store(row_of(dz, c) + b, share * factor);
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

KERNEL(multi_class_hinge)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words);
    const int32_t *labels = next_address(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const V margin = splat((REAL)next_scalar(&words));
    const int64_t squared = next_integer(&words);
    V total = {0};
    for (int64_t b = 0; b < B; b += LANES) {
        const VI label = widened(load_integers(labels + b)), valid = lanes_below(B - b);
        V wanted = load(z.data + b);
        for (int64_t c = 1; c < C; c++) {
            wanted = choose_equal(label, splat_integer((INT)c), load(row_of(z, c) + b), wanted);
        }
        const V base = margin - wanted;
        V weight = splat((REAL)scale), term = {0}, slopes = {0};
        V given = splat(1);
        if (weighted) {
            given = load(weights + b);
            weight = given * (REAL)scale;
        }
        for (int64_t c = 0; c < C; c++) {
            V shorter = base + load(row_of(z, c) + b);
            shorter = choose_less(shorter, (V){0}, (V){0}, shorter);
            shorter = choose_equal(label, splat_integer((INT)c), (V){0}, shorter);
            V slope = choose_less((V){0}, shorter, splat(1), (V){0}), own = shorter;
            if (squared) {
                slope = shorter * 2;
                own = shorter * shorter;
            }
            term += own;
            slopes += slope;
            store(row_of(dz, c) + b, slope * weight);
        }
        total += choose(valid, term * given, (V){0});
        const V lowered = -slopes * weight;
        for (int64_t c = 0; c < C; c++) {
            const V own = load(row_of(dz, c) + b);
            store(row_of(dz, c) + b, choose_equal(label, splat_integer((INT)c), lowered, own));
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}
