/* The relative distance of posts to their centroids, and the queue's summary of all centroids.

   The same formulas as in congruity.py and queue.py, which explain them, in one pass each: torch's
   operations for them cost microseconds each, most of which is not arithmetic. `real` is float or
   double, the type of the features of a batch; the queue stores float. */

#include <stdint.h>
#include <string.h>

/* Losses of posts and their gradients, as in `_relative_by_torch`. */
void relative(int64_t batch, int64_t d, int64_t count, int64_t is_ratio, double eps,
              double smallest, const real *z, const int64_t *labels, const double *means,
              const double *mean, const double *scatter, real *losses, real *gradients) {
    for (int64_t i = 0; i < batch; i++, z += d, gradients += d) {
        const double *own = means + labels[i] * d;
        double near = 0, far = 0;
        for (int64_t j = 0; j < d; j++) {
            double to_own = z[j] - own[j], to_mean = z[j] - mean[j];
            near += to_own * to_own;
            far += to_mean * to_mean;
        }
        double total = *scatter + count * far;
        total = total > smallest ? total : smallest;
        double share = near / total, slope = 2 / total, others = count - 1;
        losses[i] = share;
        if (is_ratio) {
            double bound = others * eps, rest = 1 - share;
            int is_free = rest > bound;
            rest = is_free ? rest : bound;
            losses[i] = others * share / rest;
            slope = is_free ? slope * others / (rest * rest) : 0;
        }
        for (int64_t j = 0; j < d; j++)
            gradients[j] = slope * ((z[j] - own[j]) - share * count * (z[j] - mean[j]));
    }
}

/* The buffers of a queue that a post changes. `earlier` is 0 for each class whose centroid is up to
   date, else one more than its number of posts when it last was. */
typedef struct {
    int64_t d, least;
    double *sums, *means, *mean, *scatter;
    int64_t *counts, *earlier, *known;
} queue;

/* Add a post to its class (sign 1) or remove it (-1). */
static void count(const queue *q, int64_t class, const float *row, int sign) {
    double *restrict sums = q->sums + class * q->d;
    if (!q->earlier[class]) q->earlier[class] = q->counts[class] + 1;
    q->counts[class] += sign;
    for (int64_t j = 0; j < q->d; j++) sums[j] += sign * row[j];
}

/* Bring the centroid of a class up to date, and exchange it in mean and scatter of all. */
static void exchange_centroid(const queue *q, int64_t class) {
    if (!q->earlier[class]) return;
    double *restrict sums = q->sums + class * q->d, *restrict means = q->means + class * q->d;
    double *restrict mean = q->mean;
    int64_t number = q->counts[class], before = *q->known;
    int was_known = q->earlier[class] > q->least, is_known = number >= q->least;
    int64_t known = *q->known += is_known - was_known;
    double squares = 0, moved = 0, part = known ? 1.0 / known : 0;
    q->earlier[class] = 0;
    for (int64_t j = 0; j < q->d; j++) {
        double old = means[j];
        sums[j] = number ? sums[j] : 0;
        means[j] = number ? sums[j] / number : 0;
        double origin = before ? mean[j] : is_known ? means[j] : 0;
        double x = was_known ? old - origin : 0, y = is_known ? means[j] - origin : 0;
        squares += y * y - x * x;
        moved += (y - x) * (y - x);
        mean[j] = origin + part * (y - x);
    }
    double scatter = known ? *q->scatter + squares - part * moved : 0;
    *q->scatter = scatter > 0 ? scatter : 0;
}

/* Overwrite slots of the queue, as in `_write_by_torch`. */
void exchange(int64_t batch, int64_t d, int64_t least, int64_t is_full, int64_t start,
              const float *features, const int64_t *labels, float *slots, int64_t *slot_labels,
              double *sums, double *lap_sums, double *means, double *mean, double *scatter,
              int64_t *counts, int64_t *earlier, int64_t *known) {
    queue q = {d, least, sums, means, mean, scatter, counts, earlier, known};
    slots += start * d;
    slot_labels += start;
    for (int64_t i = 0; i < batch; i++) {
        double *restrict lap = lap_sums + labels[i] * d;
        const float *row = features + i * d;
        if (is_full) count(&q, slot_labels[i], slots + i * d, -1);
        count(&q, labels[i], row, 1);
        for (int64_t j = 0; j < d; j++) lap[j] += row[j];
    }
    memcpy(slots, features, batch * d * sizeof(float));
    for (int64_t i = 0; i < batch; i++) {
        if (is_full) exchange_centroid(&q, slot_labels[i]);
        exchange_centroid(&q, labels[i]);
        slot_labels[i] = labels[i];
    }
}
