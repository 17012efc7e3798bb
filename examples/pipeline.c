/* SPDX-License-Identifier: MIT */
/*
 * A pipeline with a pool of workers on four threads.
 *
 * The main thread sends numbers into a buffered channel. On each of four threads,
 * eight tasklets receive numbers from it and pass on those that are prime. A last
 * tasklet counts the primes. A stage that has nothing more to send closes its
 * channel, and this ends the next stage: elements of a closed channel can still be
 * received, and when it is empty a receive returns -EPIPE.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

enum { THREADS = 4, WORKERS = 8, LAST = 20000 };

static weft_channel *numbers, *primes; /* of int */
static _Atomic(int) n_working = THREADS * WORKERS;

static int is_prime(int n)
{
	for (int i = 2; i * i <= n; i++)
		if (n % i == 0)
			return 0;
	return n > 1;
}

/* A tasklet of the pool. The last one to end closes the channel of all. */
static int work(void *arg)
{
	int n;

	(void)arg;
	while (weft_channel_receive(numbers, &n) == 0)
		if (is_prime(n))
			weft_channel_send(primes, &n);
	if (--n_working == 0)
		weft_channel_close(primes);
	return 0;
}

/* The first tasklet of a thread of the pool. The thread ends when all its tasklets
 * have ended. */
static int start_workers(void *arg)
{
	(void)arg;
	for (int i = 0; i < WORKERS; i++)
		if (weft_tasklet_is_null(weft_spawn(work, NULL)))
			return -errno;
	return 0;
}

static int count(void *arg)
{
	int some[64];
	ssize_t n;

	while ((n = weft_channel_receive_many(primes, some, 64)) > 0)
		*(int *)arg += (int)n;
	return 0;
}

int main(void)
{
	uint64_t threads[THREADS];
	int n_primes = 0;
	weft_tasklet counter;

	numbers = weft_channel_new(sizeof(int), 256);
	primes = weft_channel_new(sizeof(int), 256);
	counter = weft_spawn(count, &n_primes);
	if (!numbers || !primes || weft_tasklet_is_null(counter)) {
		perror("pipeline");
		return EXIT_FAILURE;
	}
	for (int i = 0; i < THREADS; i++) {
		if (weft_thread_start(&threads[i], start_workers, NULL)) {
			fputs("pipeline: no thread\n", stderr);
			return EXIT_FAILURE;
		}
	}
	for (int n = 0; n <= LAST; n++)
		weft_channel_send(numbers, &n);
	weft_channel_close(numbers);

	weft_tasklet_join(counter);
	for (int i = 0; i < THREADS; i++)
		if (weft_thread_join(threads[i]) != 0)
			fputs("pipeline: a thread had no workers\n", stderr);
	printf("%d primes up to %d\n", n_primes, LAST);
	weft_channel_unref(numbers);
	weft_channel_unref(primes);
	return EXIT_SUCCESS;
}
