/* SPDX-License-Identifier: MIT */
/*
 * A scheduler for each thread.
 *
 * The second thread counts the tasklets in its run queue and finds one, its main
 * tasklet, however many the first thread has: two schedulers, side by side.
 *
 * This follows the first example of "Threads and Stackless" in the manual of
 * Stackless Python. There a tasklet of the first thread checks again and again
 * whether the second thread is alive. Here the second thread sends a signal when it
 * is about to end, and the first one sleeps until then. The first two lines of the
 * output come in either order.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

struct second {
	pthread_t thread;
	weft_channel *ending; /* a signal */
};

static void *run_second(void *arg)
{
	struct second *second = arg;

	printf("THREAD(2): Has %u tasklets in its scheduler\n",
	       weft_runcount());
	weft_channel_send(second->ending, NULL);
	return NULL;
}

static int wait_for_second(void *arg)
{
	struct second *second = arg;

	puts("THREAD(1): Waiting for death of THREAD(2)");
	weft_channel_receive(second->ending, NULL);
	pthread_join(second->thread, NULL); /* waits an instant: it is ending */
	puts("THREAD(1): Death of THREAD(2) detected");
	return 0;
}

int main(void)
{
	struct second second = { .ending = weft_channel_new(0, 0) };

	if (!second.ending ||
	    weft_tasklet_is_null(weft_spawn(wait_for_second, &second)) ||
	    pthread_create(&second.thread, NULL, run_second, &second)) {
		perror("threads");
		return EXIT_FAILURE;
	}
	weft_run();
	weft_channel_unref(second.ending);
	return EXIT_SUCCESS;
}
