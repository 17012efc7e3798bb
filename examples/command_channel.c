/* SPDX-License-Identifier: MIT */
/*
 * Channels are thread-safe.
 *
 * The slave is a tasklet on the main thread. It does what the master, a tasklet on
 * a second thread, tells it through a channel.
 *
 * This follows the second example of "Threads and Stackless" in the manual of
 * Stackless Python. There each thread runs its scheduler again and again until the
 * tasklet has ended, because a run returns when all tasklets are blocked. In weft a
 * run returns when all have ended, and the thread sleeps while they are blocked.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

static weft_channel *commands; /* of const char *: strings that stay */

static void tell(const char *command)
{
	weft_channel_send(commands, &command);
}

static int master(void *arg)
{
	(void)arg;
	tell("ECHO 1");
	tell("ECHO 2");
	tell("ECHO 3");
	tell("QUIT");
	return 0;
}

static int slave(void *arg)
{
	const char *command;

	(void)arg;
	puts("SLAVE STARTING");
	do {
		weft_channel_receive(commands, &command);
		printf("SLAVE: %s\n", command);
	} while (strcmp(command, "QUIT") != 0);
	puts("SLAVE ENDING");
	return 0;
}

static void run_scheduler(weft_fn fn)
{
	if (weft_tasklet_is_null(weft_spawn(fn, NULL))) {
		perror("command_channel");
		exit(EXIT_FAILURE);
	}
	weft_run();
}

static void *run_master(void *arg)
{
	run_scheduler(master);
	return arg;
}

int main(void)
{
	pthread_t thread;

	commands = weft_channel_new(sizeof(const char *), 0);
	if (!commands || pthread_create(&thread, NULL, run_master, NULL)) {
		perror("command_channel");
		return EXIT_FAILURE;
	}
	run_scheduler(slave);
	pthread_join(thread, NULL);
	weft_channel_unref(commands);
	return EXIT_SUCCESS;
}
