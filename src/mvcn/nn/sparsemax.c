/* Sparsemax of each row, and its gradient, without leaving the processor's first cache.

   The same active-set steps as in sparsemax.py, which explains them. `real` is float or double. */

#include <float.h>
#include <math.h>
#include <stdint.h>

#define MOST (sizeof(real) == sizeof(float) ? (real)FLT_MAX : (real)DBL_MAX)

/* The largest score of a row, NaN if any is, and a finite number where it is infinite. */
static real maximum(const real *scores, int64_t n) {
    real largest = -INFINITY;
    int has_nan = 0;
#pragma omp simd reduction(max : largest) reduction(| : has_nan)
    for (int64_t i = 0; i < n; i++) {
        largest = scores[i] > largest ? scores[i] : largest;
        has_nan |= isnan(scores[i]);
    }
    if (has_nan) return NAN;
    return largest > MOST ? MOST : largest < -MOST ? -MOST : largest;
}

/* The threshold above which the excess of the scores sums to 1. */
static real find_threshold(const real *shifted, int64_t n) {
    real threshold = -1, previous = INFINITY;
    for (;;) {
        real size = 0, sum = 0;
#pragma omp simd reduction(+ : size, sum)
        for (int64_t i = 0; i < n; i++) {
            size += shifted[i] > threshold ? 1 : 0;
            sum += shifted[i] > threshold ? shifted[i] : 0;
        }
        if (size == previous || size == 0) return threshold;
        real needed = (sum - 1) / size;
        threshold = needed > threshold ? needed : threshold;
        previous = size;
    }
}

static void project(const real *scores, int64_t n, real *weights) {
    real largest = maximum(scores, n);
    for (int64_t i = 0; i < n; i++) {
        real shifted = scores[i] - largest;
        weights[i] = shifted < -1 ? -1 : shifted > 0 ? 0 : shifted;
    }
    real threshold = find_threshold(weights, n);
    for (int64_t i = 0; i < n; i++) {
        real weight = weights[i] - threshold;
        weights[i] = weight < 0 ? 0 : weight;
    }
}

/* Take the mean over the support from the gradient there; elsewhere there is none. NaN in the
   gradient, wherever in the row, makes all of it NaN. A row without support keeps its weights:
   zeros of a masked row, or NaN. */
static void center(const real *weights, const real *gradient, int64_t n, real *result) {
    real size = 0, sum = 0;
#pragma omp simd reduction(+ : size, sum)
    for (int64_t i = 0; i < n; i++) {
        real support = weights[i] > 0 ? 1 : 0;
        size += support;
        sum += support * gradient[i];
    }
    if (size == 0) {
        for (int64_t i = 0; i < n; i++) result[i] = weights[i];
        return;
    }
    real mean = sum / size;
    real elsewhere = mean - mean; /* 0, or NaN */
    for (int64_t i = 0; i < n; i++) result[i] = weights[i] > 0 ? gradient[i] - mean : elsewhere;
}

void project_rows(int threads, int64_t rows, int64_t n, const real *scores, real *weights) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) project(scores + row * n, n, weights + row * n);
}

void center_rows(int threads, int64_t rows, int64_t n, const real *weights, const real *gradient,
                 real *result) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++)
        center(weights + row * n, gradient + row * n, n, result + row * n);
}
