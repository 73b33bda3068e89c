/* The relative distance of posts to their centroids, and the queue's summary of all centroids.

   The same formulas as in congruity.py and queue.py, which explain them, in one pass each: torch's
   operations for them cost microseconds each, most of which is not arithmetic. */

#include <stdint.h>

/* Losses of posts and their gradients, as in `_relative`; z, own and mean are rows of width d. */
void relative(int64_t batch, int64_t d, int64_t count, int64_t is_ratio, double eps,
              double smallest, const double *z, const double *own, const double *mean,
              const double *scatter, double *losses, double *gradients) {
    for (int64_t i = 0; i < batch; i++, z += d, own += d, gradients += d) {
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

/* The buffers of a queue that one more or one less post of a class changes. */
typedef struct {
    int64_t d, least;
    double *sums, *means, *mean, *scatter;
    int64_t *counts, *known;
} summary;

/* Add a post to its class (sign 1) or remove it (-1), and exchange the centroid in the summary. */
static void change(const summary *s, int64_t class, const float *row, int sign) {
    double *sums = s->sums + class * s->d, *means = s->means + class * s->d, *mean = s->mean;
    int was_known = s->counts[class] >= s->least;
    int64_t number = s->counts[class] += sign;
    int is_known = number >= s->least;
    int64_t before = *s->known, known = *s->known += is_known - was_known;
    double squares = 0, moved = 0, part = known ? 1.0 / known : 0;
    for (int64_t j = 0; j < s->d; j++) {
        double old = means[j];
        sums[j] = number ? sums[j] + sign * row[j] : 0;
        means[j] = number ? sums[j] / number : 0;
        double origin = before ? mean[j] : is_known ? means[j] : 0;
        double x = was_known ? old - origin : 0, y = is_known ? means[j] - origin : 0;
        squares += y * y - x * x;
        moved += (y - x) * (y - x);
        mean[j] = origin + part * (y - x);
    }
    double scatter = known ? *s->scatter + squares - part * moved : 0;
    *s->scatter = scatter > 0 ? scatter : 0;
}

/* Overwrite slots of the queue, as in `_write`, but for the end of a lap. */
void exchange(int64_t batch, int64_t d, int64_t least, int64_t is_full, const float *features,
              const int64_t *labels, float *slots, int64_t *slot_labels, double *sums,
              double *lap_sums, double *means, double *mean, double *scatter, int64_t *counts,
              int64_t *known) {
    summary s = {d, least, sums, means, mean, scatter, counts, known};
    for (int64_t i = 0; i < batch; i++, features += d, slots += d) {
        if (is_full) change(&s, slot_labels[i], slots, -1);
        change(&s, labels[i], features, 1);
        double *lap = lap_sums + labels[i] * d;
        for (int64_t j = 0; j < d; j++) {
            lap[j] += features[j];
            slots[j] = features[j];
        }
        slot_labels[i] = labels[i];
    }
}
