/* SPDX-License-Identifier: MIT */
/*
 * Pumping the scheduler: a program with a loop of its own, such as a game, runs the
 * tasklets once per turn.
 *
 * Each actor does its part of a turn and then pauses until the next turn: the loop
 * inserts the actors that have paused, and weft_pump() runs them until each has
 * paused again or ended. The loop need not care for an actor that waits for a
 * channel or sleeps: the actor goes on in the turn in which its wait is over.
 *
 * This follows the idiom of the same name of Stackless Python.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

struct actor {
	const char *name;
	int steps;
	weft_tasklet tasklet;
};

static int turn;
static weft_channel *shouts; /* of const char * */

static int walk(void *arg)
{
	struct actor *a = arg;

	for (int i = 1; i <= a->steps; i++) {
		printf("turn %d: %s takes step %d of %d\n", turn, a->name, i,
		       a->steps);
		weft_schedule_remove(); /* until the next turn */
	}
	return weft_channel_send(shouts, &a->name);
}

static int listen_to(void *arg)
{
	const char *who;

	(void)arg;
	while (weft_channel_receive(shouts, &who) == 0)
		printf("turn %d: %s has arrived\n", turn, who);
	return 0;
}

int main(void)
{
	struct actor actors[] = { { .name = "the hare", .steps = 2 },
				  { .name = "the tortoise", .steps = 3 } };
	enum { ACTORS = sizeof actors / sizeof actors[0] };
	weft_tasklet listener;

	shouts = weft_channel_new(sizeof(const char *), 0);
	listener = weft_spawn(listen_to, NULL);
	for (int i = 0; i < ACTORS; i++)
		actors[i].tasklet = weft_spawn(walk, &actors[i]);
	if (!shouts || weft_tasklet_is_null(listener)) {
		perror("pump");
		return EXIT_FAILURE;
	}
	/* One turn each time round, until only the listener is left. */
	for (turn = 1; weft_pump() > 1; turn++)
		for (int i = 0; i < ACTORS; i++)
			if (weft_tasklet_state(actors[i].tasklet) ==
			    WEFT_PAUSED)
				weft_tasklet_insert(actors[i].tasklet);
	weft_channel_close(shouts);
	weft_run();
	weft_channel_unref(shouts);
	return EXIT_SUCCESS;
}
