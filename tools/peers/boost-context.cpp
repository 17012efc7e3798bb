// SPDX-License-Identifier: MIT
//
// weft-peer-boost-context switch STACKS SWITCHES none: boost.context's bare
// switch, for weft-bench to compare its workload `switch` with. Two stacks are
// the thread's own and one other; more form a circle. Stacks are as large as
// those of the workload and begin at the same varied offsets.
//
// All peers take the same arguments, TASK SIZE OPERATIONS CPUS, where CPUS is
// "none" or A,B, and print the one line that weft-bench reads, see
// tools/bench/child.c: "ok OPERATIONS WALL_NS CPU_NS [NAME=VALUE]...".
#include <sys/mman.h>
#include <time.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace ctx = boost::context::detail;

namespace
{

constexpr std::size_t stack_size = 64 * 1024;
constexpr std::size_t offset_step = 128;
constexpr std::size_t offsets = 32;

struct figures {
	std::uint64_t operations;
	std::int64_t wall_ns, cpu_ns;
};

std::int64_t clock_ns(clockid_t clock)
{
	timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void begin(figures &f)
{
	f.cpu_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
	f.wall_ns = -clock_ns(CLOCK_MONOTONIC);
}

void end(figures &f)
{
	f.wall_ns += clock_ns(CLOCK_MONOTONIC);
	f.cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

ctx::fcontext_t make(char *stacks, std::size_t i,
		     void (*entry)(ctx::transfer_t))
{
	char *top = stacks + (i + 1) * stack_size - i % offsets * offset_step;

	return ctx::make_fcontext(top, stack_size - offsets * offset_step,
				  entry);
}

// Whom to switch back to comes with the switch: boost.context's shortest way.
void echo(ctx::transfer_t t)
{
	for (;;)
		t = ctx::jump_fcontext(t.fctx, nullptr);
}

figures to_and_fro(char *stack, std::uint64_t switches)
{
	ctx::transfer_t t{ make(stack, 0, echo), nullptr };
	figures f{ switches / 2 * 2 + 2, 0, 0 };

	begin(f);
	for (std::uint64_t i = f.operations / 2; i; i--)
		t = ctx::jump_fcontext(t.fctx, nullptr);
	end(f);
	return f;
}

struct alignas(64) node {
	ctx::fcontext_t context;
	node *next;
	std::uint64_t rounds;
};

// Where to go when all rounds are done.
node home;

// A context learns at its resumption where the one before it was left.
node *left_by(ctx::transfer_t t)
{
	node *before = static_cast<node *>(t.data);

	before->context = t.fctx;
	return before;
}

void go_round(ctx::transfer_t t)
{
	node *self = left_by(t)->next;

	for (std::uint64_t i = self->rounds; i; i--)
		left_by(ctx::jump_fcontext(self->next->context, self));
	ctx::jump_fcontext(home.context, nullptr);
	std::abort();
}

figures around(char *stacks, std::size_t n, std::uint64_t switches)
{
	std::vector<node> nodes(n);
	figures f{ (switches / n + 1) * n, 0, 0 };

	for (std::size_t i = 0; i < n; i++)
		nodes[i] = { make(stacks, i, go_round), &nodes[(i + 1) % n],
			     f.operations / n };
	home.next = &nodes[0];
	begin(f);
	ctx::jump_fcontext(nodes[0].context, &home);
	end(f);
	return f;
}

figures run(char *stacks, std::size_t n, std::uint64_t switches)
{
	return n == 2 ? to_and_fro(stacks, switches)
		      : around(stacks, n, switches);
}

std::uint64_t number(const char *text)
{
	char *end;
	std::uint64_t n = std::strtoull(text, &end, 10);

	return *end || *text == '-' ? 0 : n;
}

} // namespace

int main(int argc, char **argv)
{
	bool is_usable = argc == 5 && std::strcmp(argv[1], "switch") == 0;
	std::size_t n = is_usable ? number(argv[2]) : 0;
	std::uint64_t switches = is_usable ? number(argv[3]) : 0;

	if (n < 2 || n > 1000000 || !switches) {
		std::fputs("usage: weft-peer-boost-context switch STACKS "
			   "SWITCHES none, with 2 to 1000000 stacks\n",
			   stderr);
		return 64;
	}
	void *stacks = mmap(
		nullptr, n * stack_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (stacks == MAP_FAILED) {
		std::puts("failed no memory for the stacks");
		return 1;
	}
	run(static_cast<char *>(stacks), n, switches / 20 + 1); // warms up
	figures f = run(static_cast<char *>(stacks), n, switches);
	std::printf("ok %ju %jd %jd\n",
		    static_cast<std::uintmax_t>(f.operations),
		    static_cast<std::intmax_t>(f.wall_ns),
		    static_cast<std::intmax_t>(f.cpu_ns));
	return 0;
}
