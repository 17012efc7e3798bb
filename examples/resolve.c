/* SPDX-License-Identifier: MIT */
/*
 * Names resolved on helper threads.
 *
 * getaddrinfo(3) knows nothing of tasklets: if a tasklet calls it directly, it holds
 * up the whole thread until the answer is there. weft_offload() calls it on another
 * thread and suspends only the tasklet. Here three names are resolved at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <weft.h>

struct question {
	const char *name;
	int rc;    /* 0, or why it could not be asked */
	int error; /* EAI_..., which is no errno */
	char answer[INET6_ADDRSTRLEN];
};

/* Runs on a helper thread; everything that it needs is in the question. */
static int look_up(void *arg)
{
	struct question *q = arg;
	struct addrinfo hints = { .ai_family = AF_INET,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;

	q->error = getaddrinfo(q->name, NULL, &hints, &found);
	if (q->error)
		return 0;
	getnameinfo(found->ai_addr, found->ai_addrlen, q->answer,
		    sizeof q->answer, NULL, 0, NI_NUMERICHOST);
	freeaddrinfo(found);
	return 0;
}

static int resolve(void *arg)
{
	struct question *q = arg;

	q->rc = weft_offload(look_up, q);
	return q->rc;
}

static const char *outcome(const struct question *q)
{
	if (q->rc)
		return strerror(-q->rc);
	return q->error ? gai_strerror(q->error) : q->answer;
}

int main(void)
{
	struct question questions[] = {
		{ .name = "127.0.0.1" },
		{ .name = "127.1" }, /* an old way to write 127.0.0.1 */
		{ .name = "192.0.2.7" },
	};
	enum { N = sizeof questions / sizeof questions[0] };

	for (int i = 0; i < N; i++)
		if (weft_tasklet_is_null(weft_spawn(resolve, &questions[i])))
			questions[i].rc = -errno;
	weft_pump();
	printf("%d are asked for\n", N);
	weft_run(); /* until all have their answers */
	for (int i = 0; i < N; i++)
		printf("%s is %s\n", questions[i].name, outcome(&questions[i]));
}
