/* SPDX-License-Identifier: MIT */
/*
 * What an operation costs without weft: a loop that submits a batch to a ring
 * like weft's and waits for all of it.
 */
#include <errno.h>
#include <liburing.h>

#include "bench.h"

static void submit_and_reap(struct io_uring *ring, unsigned n)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;

	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		io_uring_prep_nop(sqe);
		sqe->user_data = i;
	}
	must(io_uring_submit_and_wait(ring, n), "io_uring_submit_and_wait");
	io_uring_for_each_cqe(ring, head, cqe)
	{
		must(cqe->res, "a no-op");
		seen++;
	}
	io_uring_cq_advance(ring, seen);
	if (seen != n)
		run_fail(-EBADMSG, "the number of completions");
}

void run_bare_nop(struct run *r)
{
	struct io_uring_params params = {
		.flags =
			IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	unsigned n = r->variant->count;
	uint64_t rounds = r->operations / n + 1;
	struct io_uring ring;
	int rc;

	may_use_ring();
	rc = io_uring_queue_init_params(n, &ring, &params);

	if (rc == -EINVAL)
		run_unavailable("this kernel has no DEFER_TASKRUN");
	need_ring(rc, "io_uring_queue_init_params");
	must(io_uring_register_ring_fd(&ring), "io_uring_register_ring_fd");
	run_begin(r);
	for (uint64_t i = rounds; i; i--)
		submit_and_reap(&ring, n);
	run_end(r);
	io_uring_queue_exit(&ring);
	r->operations = rounds * n;
}
