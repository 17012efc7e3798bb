/* SPDX-License-Identifier: MIT */
/*
 * A program as a user would write it, to be linked with an installed library:
 * a tasklet sleeps, so that the ring is used too, and answers on a channel.
 */
#include <stdio.h>
#include <weft.h>

static int answer(void *arg)
{
	int value = 42;

	weft_sleep(WEFT_MILLISECOND);
	return weft_channel_send(arg, &value);
}

int main(void)
{
	weft_channel *ch = weft_channel_new(sizeof(int), 0);
	int value = 0;

	weft_spawn(answer, ch);
	weft_channel_receive(ch, &value);
	weft_channel_unref(ch);
	printf("weft %s: %d\n", weft_version(), value);
	return value != 42;
}
