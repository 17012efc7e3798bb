/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdio.h>
#include <weft.h>

static weft_channel *words; /* carries const char * */

static int say(void *word) /* a tasklet */
{
	return weft_channel_send(words, &word);
}

static void *speak(void *arg) /* an OS thread with a scheduler of its own */
{
	weft_spawn(say, "tasklets");
	weft_spawn(say, "channels");
	weft_spawn(say, "threads");
	weft_run(); /* until all three have ended */
	return arg;
}

int main(void)
{
	const char *word;
	pthread_t thread;

	words = weft_channel_new(sizeof word, 0);
	pthread_create(&thread, NULL, speak, NULL);
	for (int i = 0; i < 3; i++) {
		weft_channel_receive(words, &word); /* asleep until one comes */
		puts(word);
	}
	pthread_join(thread, NULL);
	weft_channel_unref(words);
}
