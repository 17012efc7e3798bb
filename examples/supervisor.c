/* SPDX-License-Identifier: MIT */
/*
 * A supervisor: workers that are restarted when they fail.
 *
 * Each worker has a keeper. A keeper is a tasklet that runs the worker, joins it,
 * looks at the result, and runs the worker again if it has failed. A keeper that has
 * seen too many failures gives up: it ends all workers. Its own result is the first
 * failure in the group of keepers, and so becomes the result of the supervisor.
 * Whatever happens, no tasklet is left when the groups are freed.
 *
 * The indexer does its work at the first attempt and the parser at the third. The
 * fetcher never does, since its server is away. The clock would tick for ever.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

enum { MOST_ATTEMPTS = 4 };

struct worker {
	const char *name;
	weft_fn run;
	int n_attempts;
};

static weft_group *keepers, *workers;

static int tick(void *arg)
{
	int rc;

	(void)arg;
	do
		rc = weft_sleep(WEFT_MILLISECOND);
	while (rc == 0);
	return rc;
}

static int make_index(void *arg)
{
	(void)arg;
	return weft_schedule();
}

static int parse(void *arg)
{
	struct worker *me = arg;

	weft_schedule();
	return me->n_attempts < 3 ? -EBADMSG : 0;
}

static int fetch(void *arg)
{
	(void)arg;
	weft_schedule();
	return -EHOSTUNREACH;
}

static int keep(void *arg)
{
	struct worker *w = arg;
	int rc;

	do {
		w->n_attempts++;
		rc = weft_tasklet_join(weft_group_spawn(workers, w->run, w));
		printf("%s, attempt %d: %s\n", w->name, w->n_attempts,
		       rc ? strerror(-rc) : "done");
		if (rc == 0 || rc == -ECANCELED)
			return rc;
	} while (w->n_attempts < MOST_ATTEMPTS);
	printf("%s: given up\n", w->name);
	weft_group_kill(workers);
	return rc;
}

int main(void)
{
	struct worker all[] = {
		{ .name = "clock", .run = tick },
		{ .name = "indexer", .run = make_index },
		{ .name = "parser", .run = parse },
		{ .name = "fetcher", .run = fetch },
	};
	int rc;

	workers = weft_group_new();
	keepers = weft_group_new();
	if (!workers || !keepers) {
		perror("supervisor");
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		weft_group_spawn(keepers, keep, &all[i]);
	rc = weft_group_wait(keepers);
	printf("supervisor: %s\n", rc ? strerror(-rc) : "all is done");
	weft_group_free(keepers);
	weft_group_free(workers);
	return EXIT_SUCCESS;
}
