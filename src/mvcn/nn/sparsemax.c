/* Sparsemax of rows, and its gradient, without leaving the processor's first cache.

   The same active-set steps as in sparsemax.py, which explains them, for as many rows at a time as a
   vector has lanes: in this way no step has to sum within a vector. `real` is float or double. */

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#define MOST (sizeof(real) == sizeof(float) ? (real)FLT_MAX : (real)DBL_MAX)
#ifdef __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((int64_t)(BYTES / sizeof(real)))
#define AT_ONCE 4 /* scores of a row whose sums do not wait for one another */

typedef real lanes __attribute__((vector_size(BYTES)));
typedef lanes loose __attribute__((aligned(sizeof(real)))); /* wherever scores lie in memory */
typedef whole integers __attribute__((vector_size(BYTES))); /* as wide as real; -1 is true */

static lanes fill(real value) { return (lanes){0} + value; }

static lanes where(integers condition, lanes yes, lanes no) {
    return (lanes)(((integers)yes & condition) | ((integers)no & ~condition));
}

/* Write rows side by side, each in a lane, padded with scores that never get weight. */
static void gather(const real *scores, int64_t rows, int64_t n, lanes *block) {
    for (int64_t lane = 0; lane < LANES; lane++) {
        const real *row = scores + (lane < rows ? lane : 0) * n;
        real *column = (real *)block + lane;
        for (int64_t j = 0; j < n; j++) column[j * LANES] = row[j];
    }
    for (int64_t j = n; j % AT_ONCE; j++) block[j] = fill(-INFINITY);
}

/* The largest score of each row, NaN if any is, and a finite number where it is infinite. */
static lanes maximum(const lanes *block, int64_t n) {
    lanes largest[AT_ONCE];
    integers has_nan = {0};
    for (int k = 0; k < AT_ONCE; k++) largest[k] = fill(-INFINITY);
    for (int64_t j = 0; j < n; j += AT_ONCE)
        for (int k = 0; k < AT_ONCE; k++) {
            lanes x = block[j + k];
            largest[k] = where(x > largest[k], x, largest[k]);
            has_nan |= x != x;
        }
    for (int k = 1; k < AT_ONCE; k++) largest[0] = where(largest[k] > *largest, largest[k], *largest);
    *largest = where(*largest > MOST, fill(MOST), *largest);
    *largest = where(*largest < -MOST, fill(-MOST), *largest);
    return where(has_nan, fill(NAN), *largest);
}

/* Subtract the maxima. Only of an infinite score may more than 0 remain. */
static void shift(lanes *block, int64_t n, lanes largest) {
    for (int64_t j = 0; j < n; j++) {
        lanes x = block[j] - largest;
        block[j] = where(x > 0, fill(0), x);
    }
}

/* Count and sum the scores above the thresholds. */
static integers sum_above(const lanes *block, int64_t n, lanes thresholds, lanes *sum) {
    integers sizes[AT_ONCE];
    lanes sums[AT_ONCE];
    for (int k = 0; k < AT_ONCE; k++) sizes[k] = (integers){0}, sums[k] = fill(0);
    for (int64_t j = 0; j < n; j += AT_ONCE)
        for (int k = 0; k < AT_ONCE; k++) {
            integers is_above = block[j + k] > thresholds;
            sizes[k] -= is_above;
            sums[k] += (lanes)((integers)block[j + k] & is_above);
        }
    for (int k = 1; k < AT_ONCE; k++) *sizes += sizes[k], *sums += sums[k];
    *sum = *sums;
    return *sizes;
}

/* The thresholds above which the excess of the scores of each row sums to 1. */
static lanes find_thresholds(const lanes *block, int64_t n) {
    lanes thresholds = fill(-1), sums;
    for (integers before = {0};;) {
        integers sizes = sum_above(block, n, thresholds, &sums);
        if (!memcmp(&sizes, &before, BYTES)) return thresholds;
        lanes needed = (sums - 1) / __builtin_convertvector(sizes, lanes);
        thresholds = where(needed > thresholds, needed, thresholds);
        before = sizes;
    }
}

static void project(const real *scores, int64_t rows, int64_t n, real *weights, lanes *block) {
    int64_t padded = (n + AT_ONCE - 1) / AT_ONCE * AT_ONCE;
    gather(scores, rows, n, block);
    lanes largest = maximum(block, padded);
    shift(block, padded, largest);
    lanes thresholds = find_thresholds(block, padded);
    for (int64_t row = 0; row < rows; row++, scores += n, weights += n) {
        real highest = largest[row], threshold = thresholds[row];
        for (int64_t j = 0; j < n; j++) {
            real shifted = scores[j] - highest;
            real weight = (shifted > 0 ? 0 : shifted) - threshold;
            weights[j] = weight < 0 ? 0 : weight;
        }
    }
}

static real total(lanes values) {
    real sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += values[lane];
    return sum;
}

/* Take the mean over the support from the gradient there; elsewhere there is none. NaN in the
   gradient, wherever in the row, makes all of it NaN. A row without support keeps its weights:
   zeros of a masked row, or NaN. */
static void center(const real *weights, const real *gradient, int64_t n, real *result) {
    lanes sizes = fill(0), sums = fill(0);
    int64_t whole_lanes = n / LANES * LANES;
    for (int64_t j = 0; j < whole_lanes; j += LANES) {
        lanes support = where(*(loose *)(weights + j) > 0, fill(1), fill(0));
        sizes += support;
        sums += support * *(loose *)(gradient + j);
    }
    real size = total(sizes), sum = total(sums);
    for (int64_t j = whole_lanes; j < n; j++) {
        real support = weights[j] > 0 ? 1 : 0;
        size += support;
        sum += support * gradient[j];
    }
    if (size == 0) {
        memcpy(result, weights, n * sizeof(real));
        return;
    }
    real mean = sum / size;
    real elsewhere = mean - mean; /* 0, or NaN */
    for (int64_t j = 0; j < n; j++) result[j] = weights[j] > 0 ? gradient[j] - mean : elsewhere;
}

/* `blocks` has room for n + AT_ONCE vectors of BYTES a thread, and begins where a vector may. */
void project_rows(int threads, int64_t rows, int64_t n, const real *scores, real *weights,
                  lanes *blocks) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row += LANES) {
        int64_t count = rows - row < LANES ? rows - row : LANES;
        lanes *block = blocks + omp_get_thread_num() * (n + AT_ONCE);
        project(scores + row * n, count, n, weights + row * n, block);
    }
}

void center_rows(int threads, int64_t rows, int64_t n, const real *weights, const real *gradient,
                 real *result) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++)
        center(weights + row * n, gradient + row * n, n, result + row * n);
}
