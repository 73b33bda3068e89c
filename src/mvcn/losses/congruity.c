/* The distance of posts to their centroids, and the queue's summary of all centroids.

   The same formulas as in congruity.py and queue.py, which explain them, in one pass each: torch's
   operations for them cost microseconds each, most of which is not arithmetic. This file includes
   itself, once for each type of the features of a batch, `real`; the queue stores float. */

#ifndef real

#include <stdint.h>
#include <string.h>

enum { RATIO, SHARE, ABSOLUTE };

#define real float
#define congruity congruity_of_float
#include "congruity.c"
#undef real
#undef congruity

#define real double
#define congruity congruity_of_double
#include "congruity.c"
#undef real
#undef congruity

/* What changes in a queue. `changing` says for each class whether its old centroid has been taken
   out of the summary and the new one not yet in. `moved` and `squares` are sums over old centroids (sign -1) and new ones
   (sign 1) of their ways from the mean, and of the squared lengths of these. */
typedef struct {
    int64_t d, least;
    double *sums, *mean, *moved, squares;
    int64_t *counts, known;
    char *changing;
} changes;

/* Take the centroid of a class out of the summary (sign -1) or into it (sign 1). */
static void count_centroid(changes *q, int64_t class, int sign) {
    double *restrict sums = q->sums + class * q->d, *restrict moved = q->moved;
    const double *restrict mean = q->mean;
    double part = 1.0 / q->counts[class], squares = 0;
    if (q->counts[class] < q->least) return;
    for (int64_t j = 0; j < q->d; j++) {
        double way = part * sums[j] - mean[j];
        squares += way * way;
        moved[j] += sign * way;
    }
    q->squares += sign * squares;
    q->known += sign;
}

/* Take out the centroid of a class, which is about to change, unless that was done. */
static void begin(changes *q, int64_t class) {
    if (q->changing[class]) return;
    q->changing[class] = 1;
    count_centroid(q, class, -1);
}

/* Add a post to its class (sign 1) or remove it (-1). */
static void count_post(changes *q, int64_t class, const float *row, int sign) {
    double *restrict sums = q->sums + class * q->d;
    q->counts[class] += sign;
    for (int64_t j = 0; j < q->d; j++) sums[j] += sign * row[j];
}

/* Take the new centroid of a class in, unless that was done. */
static void end(changes *q, int64_t class) {
    if (!q->changing[class]) return;
    q->changing[class] = 0;
    if (!q->counts[class]) memset(q->sums + class * q->d, 0, q->d * sizeof(double));
    count_centroid(q, class, 1);
}

/* Overwrite slots of the queue, as in `_write_by_torch`. `moved` is all zeros. */
void exchange(int64_t batch, int64_t d, int64_t size, int64_t least, int64_t start,
              const float *features, const int64_t *labels, float *slots, int64_t *slot_labels,
              double *sums, double *mean, double *scatter, int64_t *counts, char *changing,
              int64_t *known, double *moved) {
    int64_t is_full = slot_labels[size - 1] >= 0;
    least = is_full ? 1 : least;
    changes q = {d, least, sums, mean, moved, 0, counts, *known, changing};
    slots += start * d;
    slot_labels += start;
    for (int64_t i = 0; i < batch; i++) {
        if (is_full) begin(&q, slot_labels[i]);
        begin(&q, labels[i]);
    }
    for (int64_t i = 0; i < batch; i++) {
        if (is_full) count_post(&q, slot_labels[i], slots + i * d, -1);
        count_post(&q, labels[i], features + i * d, 1);
    }
    memcpy(slots, features, batch * d * sizeof(float));
    for (int64_t i = 0; !*known && i < batch; i++) { /* any point will do, and this one is near */
        if (counts[labels[i]] < least) continue;
        for (int64_t j = 0; j < d; j++) mean[j] = sums[labels[i] * d + j] / counts[labels[i]];
        break;
    }
    for (int64_t i = 0; i < batch; i++) {
        if (is_full) end(&q, slot_labels[i]);
        end(&q, labels[i]);
        slot_labels[i] = labels[i];
    }
    double squares = 0, part = q.known ? 1.0 / q.known : 0, changed;
    for (int64_t j = 0; j < d; j++) {
        squares += moved[j] * moved[j];
        mean[j] += part * moved[j];
    }
    changed = *scatter + q.squares - part * squares;
    *scatter = q.known && changed > 0 ? changed : 0;
    *known = q.known;
}

#else

/* Mean loss of posts and its gradients, as in `_mean_by_torch`; returns how many contribute. */
int64_t congruity(int64_t batch, int64_t d, int64_t least, int64_t known, int64_t form, double eps,
                  double smallest, const real *z, const int64_t *labels, const double *sums,
                  const int64_t *counts, const double *mean, const double *scatter, real *loss,
                  real *gradients) {
    int64_t contributing = 0, is_possible = form == ABSOLUTE || known > 1;
    for (int64_t i = 0; i < batch; i++) contributing += is_possible && counts[labels[i]] >= least;
    double sum = 0, others = known - 1, weight = contributing ? 1.0 / contributing : 0;
    for (int64_t i = 0; i < batch; i++, z += d, gradients += d) {
        const double *own = sums + labels[i] * d;
        int64_t number = counts[labels[i]];
        double part = number ? 1.0 / number : 0, near = 0, far = 0;
        if (!is_possible || number < least) {
            memset(gradients, 0, d * sizeof(real));
            continue;
        }
        for (int64_t j = 0; j < d; j++) {
            double to_own = z[j] - part * own[j], to_mean = z[j] - mean[j];
            near += to_own * to_own;
            far += to_mean * to_mean;
        }
        double all = *scatter + known * far;
        all = all > smallest ? all : smallest;
        double share = near / all, value = share, slope = 2 / all, pull = share * known;
        if (form == RATIO) {
            double bound = others * eps, rest = 1 - share;
            int is_free = rest > bound;
            rest = is_free ? rest : bound;
            value = others * share / rest;
            slope = is_free ? slope * others / (rest * rest) : 0;
        } else if (form == ABSOLUTE) {
            value = near, slope = 2, pull = 0;
        }
        slope *= weight;
        for (int64_t j = 0; j < d; j++)
            gradients[j] = slope * ((z[j] - part * own[j]) - pull * (z[j] - mean[j]));
        sum += value;
    }
    *loss = weight * sum;
    return contributing;
}

#endif
