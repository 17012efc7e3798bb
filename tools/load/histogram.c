/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram.
 */
#include <float.h>
#include <math.h>

#include "load.h"

/* Where a value is counted; and the greatest value that is counted there. */
static size_t bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < 2 * N_STEPS)
		return value;
	shift = 63U - (unsigned)__builtin_clzll(value) - 8;
	return (size_t)shift * N_STEPS + (size_t)(value >> shift);
}

static int64_t top_of(size_t bucket)
{
	size_t shift = bucket / N_STEPS;

	if (bucket < 2 * N_STEPS)
		return (int64_t)bucket;
	shift--;
	return (int64_t)(((bucket - shift * N_STEPS + 1) << shift) - 1);
}

void histogram_add(struct histogram *h, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	h->counts[bucket_of((uint64_t)ns)]++;
	if (!h->n || ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	h->n++;
	h->sum += (double)ns;
	h->sum_of_squares += (double)ns * (double)ns;
}

void histogram_merge(struct histogram *into, const struct histogram *h)
{
	if (!h->n)
		return;
	for (size_t i = 0; i < N_BUCKETS; i++)
		into->counts[i] += h->counts[i];
	if (!into->n || h->min < into->min)
		into->min = h->min;
	if (h->max > into->max)
		into->max = h->max;
	into->n += h->n;
	into->sum += h->sum;
	into->sum_of_squares += h->sum_of_squares;
}

static int64_t value_in(const struct histogram *h, size_t bucket)
{
	int64_t top = top_of(bucket);

	return top < h->max ? top : h->max;
}

/* 99.9 % of 1,000 are 999, whichever way the binary digits of 0.999 were rounded. */
static uint64_t rank_of(const struct histogram *h, double share)
{
	double rank = ceil(share * (double)h->n * (1 - 4 * DBL_EPSILON));

	if (rank < 1)
		return 1;
	return rank < (double)h->n ? (uint64_t)rank : h->n;
}

int64_t histogram_quantile(const struct histogram *h, double share)
{
	uint64_t rank, below = 0;

	if (!h->n)
		return 0;
	rank = rank_of(h, share);
	for (size_t i = 0; i < N_BUCKETS; i++) {
		below += h->counts[i];
		if (below >= rank)
			return value_in(h, i);
	}
	return h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->n ? h->sum / (double)h->n : 0;
}

double histogram_deviation(const struct histogram *h)
{
	double mean = histogram_mean(h), variance;

	if (!h->n)
		return 0;
	variance = h->sum_of_squares / (double)h->n - mean * mean;
	return variance > 0 ? sqrt(variance) : 0;
}

/* From each power of two of 1 / (1 - share) to the next there are ten points. */
void histogram_walk(const struct histogram *h,
		    void (*point)(double share, int64_t ns, uint64_t count,
				  void *arg),
		    void *arg)
{
	enum { POINTS = 10 };
	uint64_t below = 0;
	size_t bucket = 0;

	if (!h->n)
		return;
	for (int i = 0;; i++) {
		double left = exp2(-(i / POINTS)) *
			      (1 - (double)(i % POINTS) / (2 * POINTS));
		uint64_t rank = rank_of(h, 1 - left);

		while (below + h->counts[bucket] < rank)
			below += h->counts[bucket++];
		point(1 - left, value_in(h, bucket), below + h->counts[bucket],
		      arg);
		if (left * (double)h->n < 1)
			break;
	}
	point(1, h->max, h->n, arg);
}

static void print_point(double share, int64_t ns, uint64_t count, void *f)
{
	fprintf(f, "%12.3f %14.12f %10ju ", (double)ns / 1e6, share,
		(uintmax_t)count);
	if (share < 1)
		fprintf(f, "%14.2f\n", 1 / (1 - share));
	else
		fprintf(f, "%14s\n", "inf");
}

void histogram_print(const struct histogram *h, FILE *f)
{
	fprintf(f, "%12s %14s %10s %14s\n\n", "Value", "Percentile",
		"TotalCount", "1/(1-Percentile)");
	histogram_walk(h, print_point, f);
	fprintf(f, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
		histogram_mean(h) / 1e6, histogram_deviation(h) / 1e6);
	fprintf(f, "#[Max     = %12.3f, Total count    = %12ju]\n",
		(double)h->max / 1e6, (uintmax_t)h->n);
	fprintf(f, "#[Buckets = %12d, SubBuckets     = %12d]\n",
		N_BUCKETS / N_STEPS, N_STEPS);
}
