/* SPDX-License-Identifier: MIT */
/*
 * weft_getaddrinfo(): names are resolved on a helper thread.
 *
 * Numbers need no helper, and are converted at once.
 *
 * Name servers may take long to answer, or never answer. So a caller that is
 * interrupted does not wait for the helper. The request lies on the heap, and whoever
 * is last frees it, with what was found. [resolve.1] The caller that leaves writes
 * LEFT into the word of the request, the helper that has an answer writes DONE, each
 * by one exchange, acquire and release. The exchange that comes first finds PENDING.
 *
 *	DONE came first: the caller stays, since the wake is on its way, and then
 *	    the request is the caller's
 *	LEFT came first: the helper touches nothing of the caller's, and the request
 *	    is the helper's
 *
 * A request that is still in line is taken out of the line by the caller, and no
 * helper has ever seen it. (tests/model/resolve.pml)
 *
 * An answered request whose caller is given up before its next turn is released at
 * the end of the thread (core/holding.h). The caller notes it there as long as it is
 * the caller's to free.
 */
#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/net.h>

#include "core/block.h"
#include "core/holding.h"
#include "core/park.h"
#include "io/io.h"
#include "io/offload.h"

enum request_state { PENDING, LEFT, DONE };

struct request {
	struct errand errand; /* first; its waiter only names the owner */
	struct holding holding;
	_Atomic(int) word;     /* enum request_state [resolve.1] */
	struct waiter *waiter; /* the caller's, unless it has left */
	struct addrinfo hints;
	const char *node, *service; /* NULL or in the names below */
	struct addrinfo *found;
	int answer, error; /* of getaddrinfo(), and errno */
	char names[];
};

/* On the stack of the tasklet that waits. */
struct resolve_wait {
	struct waiter waiter; /* first */
	struct request *request;
	bool is_withdrawn; /* no helper has seen it */
};

static struct request *new_request(const char *node, const char *service,
				   const struct addrinfo *hints)
{
	size_t n_node = node ? strlen(node) + 1 : 0;
	size_t n_service = service ? strlen(service) + 1 : 0;
	struct request *r = calloc(1, sizeof *r + n_node + n_service);

	if (!r)
		return NULL;
	r->hints = (struct addrinfo){ .ai_flags = hints->ai_flags,
				      .ai_family = hints->ai_family,
				      .ai_socktype = hints->ai_socktype,
				      .ai_protocol = hints->ai_protocol };
	if (node)
		r->node = memcpy(r->names, node, n_node);
	if (service)
		r->service = memcpy(r->names + n_node, service, n_service);
	return r;
}

/* On a helper, too: then it is not noted any more. */
static void free_request(struct request *r)
{
	weft__let_go(&r->holding);
	if (r->found)
		freeaddrinfo(r->found);
	free(r);
}

static void release(struct scheduler *s, struct holding *h)
{
	(void)s;
	free_request((struct request *)((char *)h -
					offsetof(struct request, holding)));
}

/* --- on the helper --- */

static int resolve(void *arg)
{
	struct request *r = arg;

	r->answer = getaddrinfo(r->node, r->service, &r->hints, &r->found);
	r->error = errno;
	return 0;
}

static void done(struct job *j)
{
	struct request *r = (struct request *)weft__errand_of_job(j);
	struct waiter *w = r->waiter;
	int result = j->result;

	if (atomic_exchange_explicit(&r->word, DONE, memory_order_acq_rel) ==
	    LEFT) { /* [resolve.1] */
		free_request(r);
		return;
	}
	w->result = result;
	weft__wake_foreign(&weft__unattached, w);
}

/* --- the wait --- */

static bool cancel(struct scheduler *s, struct waiter *w)
{
	struct resolve_wait *wait = (struct resolve_wait *)w;
	struct request *r = wait->request;

	if (weft__pool_withdraw(&r->errand.job)) {
		wait->is_withdrawn = true;
		return true;
	}
	/* Before it can be the helper's. */
	weft__let_go(&r->holding);
	if (atomic_exchange_explicit(&r->word, LEFT, memory_order_acq_rel) ==
	    PENDING) /* [resolve.1] */
		return true;
	weft__hold(s, &r->holding);
	return false;
}

static void give_up(struct waiter *w)
{
	struct resolve_wait *wait = (struct resolve_wait *)w;

	if (wait->is_withdrawn)
		free_request(wait->request);
}

static void give_back(struct waiter *w)
{
	free_request(((struct resolve_wait *)w)->request);
}

static bool is_claimed(const struct waiter *w)
{
	return ((const struct resolve_wait *)w)->request->errand.job.is_taken;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	const struct request *r = ((const struct resolve_wait *)w)->request;

	snprintf(text, size, "resolves %.100s", r->node ? r->node : r->service);
}

static const struct wait_kind resolving = { .cancel = cancel,
					    .give_up = give_up,
					    .give_back = give_back,
					    .is_claimed = is_claimed,
					    .is_offloaded = true,
					    .describe = describe };

/* 0: the request has been answered, and is the caller's. Else a negative errno, and
 * the request is gone. */
static int await_answer(struct scheduler *s, struct request *r)
{
	struct resolve_wait wait = {
		.waiter = { .task = peek(s->current),
			    .owner = s,
			    .kind = &resolving },
		.request = r,
	};
	int rc;

	r->waiter = &wait.waiter;
	r->errand.waiter.owner = s;
	r->errand.job = (struct job){
		.crew = CREW_FUNCTIONS, .fn = resolve, .arg = r, .done = done
	};
	rc = weft__pool_submit(&r->errand.job);
	if (rc) {
		free_request(r);
		return rc;
	}
	s->n_offloaded++;
	r->holding.release = release;
	weft__hold(s, &r->holding);
	weft__block(s, &wait.waiter, true);
	peek(s->current)->flags &= (uint8_t)~TASK_CALLED_OFF;
	/* Not the request's, which is the helper's if the caller has left. */
	weft__pool_note_end(&(const struct job){ .crew = CREW_FUNCTIONS });
	rc = weft__outcome(&wait.waiter);
	if (wait.waiter.called_off) {
		give_up(&wait.waiter);
		/* Even if the raise was taken back, there is no answer. */
		return rc ? rc : -ECANCELED;
	}
	if (rc) /* no helper is left, or this is a child of fork() */
		free_request(r);
	return rc;
}

static int resolve_by_helper(struct scheduler *s, const char *node,
			     const char *service, const struct addrinfo *hints,
			     struct addrinfo **res, int *answer)
{
	int rc = weft__may_wait(s);
	struct request *r;

	if (!rc && weft__engine_is_refusing(&s->engine))
		rc = weft__refuse();
	if (rc)
		return rc;
	r = new_request(node, service, hints);
	if (!r)
		return -ENOMEM;
	rc = await_answer(s, r);
	if (rc)
		return rc;
	*answer = r->answer;
	if (*answer == EAI_SYSTEM)
		rc = -r->error;
	if (!*answer) {
		*res = r->found;
		r->found = NULL;
	}
	free_request(r);
	return rc;
}

/* Numbers. EAI_NONAME if there is a name. */
static int convert(const char *node, const char *service,
		   const struct addrinfo *hints, struct addrinfo **res)
{
	struct addrinfo numeric = { .ai_flags = hints->ai_flags |
						AI_NUMERICHOST | AI_NUMERICSERV,
				    .ai_family = hints->ai_family,
				    .ai_socktype = hints->ai_socktype,
				    .ai_protocol = hints->ai_protocol };

	return getaddrinfo(node, service, &numeric, res);
}

/* Whether nothing is to be looked up, whatever the text is. */
static bool is_numeric(const char *node, const char *service, int flags)
{
	bool by_address = !node || flags & AI_NUMERICHOST;
	bool by_port = !service || flags & AI_NUMERICSERV ||
		       !service[strspn(service, "0123456789")];

	return by_address && by_port;
}

/* 0, with the answer of getaddrinfo(), or a negative errno. */
static int look_up(const char *node, const char *service,
		   const struct addrinfo *hints, struct addrinfo **res,
		   int *answer)
{
	struct scheduler *s = weft__scheduler();
	struct addrinfo *found;
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	*answer = convert(node, service, hints, &found);
	if (*answer == EAI_SYSTEM)
		return -errno;
	if (!*answer)
		*res = found;
	return *answer == EAI_NONAME &&
			       !is_numeric(node, service, hints->ai_flags)
		       ? resolve_by_helper(s, node, service, hints, res, answer)
		       : 0;
}

WEFT_API int weft_getaddrinfo(const char *node, const char *service,
			      const struct addrinfo *hints,
			      struct addrinfo **res)
{
	/* What POSIX says a missing hint means; glibc adds two flags. */
	static const struct addrinfo usual = {
		.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG,
		.ai_family = AF_UNSPEC,
	};
	int answer = 0;
	int rc = look_up(node, service, hints ? hints : &usual, res, &answer);

	if (!rc)
		return answer;
	errno = -rc;
	return EAI_SYSTEM;
}
