// SPDX-License-Identifier: MIT
//
// weft-peer-boost-fiber TASK SIZE OPERATIONS CPUS: what weft-bench measures,
// done by boost.fiber: its round-robin scheduler, pooled stacks, unbuffered and
// buffered channels. The arguments and the line that it prints are those of all
// peers, see boost-context.cpp.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <boost/fiber/all.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace fibers = boost::fibers;

namespace
{

constexpr std::uint64_t warm_up_part = 20;
constexpr std::uint64_t untimed = 16;
constexpr std::uint64_t least_rounds = 20; // of yields in mixed order
constexpr std::uint64_t senders = 4;
constexpr std::uint64_t first_random = 88172645463325252;

using rendezvous = fibers::unbuffered_channel<std::uint64_t>;
using buffered = fibers::buffered_channel<std::uint64_t>;

struct run {
	std::uint64_t size, operations;
	int cpus[2];
	std::int64_t wall_ns, cpu_ns;
	std::string details;
};

[[noreturn]] void give_up(const char *verdict, const std::string &why)
{
	std::printf("%s %s\n", verdict, why.c_str());
	std::fflush(stdout);
	std::_Exit(EXIT_FAILURE);
}

void require(bool is_so, const char *what)
{
	if (!is_so)
		give_up("failed", what);
}

std::int64_t clock_ns(clockid_t clock)
{
	timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

// On the thread that is measured, from any of its fibers.
void begin(run &r)
{
	r.cpu_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
	r.wall_ns = -clock_ns(CLOCK_MONOTONIC);
}

void end(run &r)
{
	r.wall_ns += clock_ns(CLOCK_MONOTONIC);
	r.cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void detail(run &r, const char *name, double value)
{
	char text[64];

	std::snprintf(text, sizeof text, " %s=%.6g", name, value);
	r.details += text;
}

// The line of a file in /proc that begins with key, in bytes.
double memory(const char *file, const char *key)
{
	std::FILE *f = std::fopen(file, "r");
	double kib = 0;
	char line[256];

	if (!f)
		give_up("unavailable", "/proc is not mounted");
	while (std::fgets(line, sizeof line, f))
		if (std::strncmp(line, key, std::strlen(key)) == 0)
			std::sscanf(line + std::strlen(key), ": %lf kB", &kib);
	std::fclose(f);
	return kib * 1024;
}

// xorshift64, as weft-bench draws.
std::uint64_t draw(std::uint64_t &state)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

// The pool of one thread. It grows by up to 1,024 stacks, or it would ask for
// more at once than the kernel grants.
fibers::pooled_fixedsize_stack &stacks()
{
	thread_local fibers::pooled_fixedsize_stack pool(
		fibers::pooled_fixedsize_stack::traits_type::default_size(), 32,
		1024);

	return pool;
}

template <typename Fn>
fibers::fiber start(Fn fn, fibers::launch policy = fibers::launch::post)
{
	return fibers::fiber(policy, std::allocator_arg, stacks(),
			     std::move(fn));
}

void join(std::vector<fibers::fiber> &all)
{
	for (fibers::fiber &f : all)
		f.join();
}

std::uint64_t pop(rendezvous &ch)
{
	return ch.value_pop();
}

// --- yield, spawn, alive ---

void yield_among(run &r, bool mixed)
{
	std::uint64_t n = r.size, at_work = n;
	std::uint64_t rounds = r.operations / n + (mixed ? least_rounds : 1);
	std::vector<fibers::context *> order;
	std::vector<fibers::fiber> all;
	bool begun = false;

	for (std::uint64_t i = 0; i < n; i++)
		all.push_back(start([&] {
			if (mixed) {
				fibers::context *self =
					fibers::context::active();

				order.push_back(self);
				self->suspend();
			}
			boost::this_fiber::yield(); // all have started
			if (!begun)
				begin(r);
			begun = true;
			for (std::uint64_t k = rounds; k; k--)
				boost::this_fiber::yield();
			if (--at_work == 0)
				end(r);
		}));
	if (mixed) {
		std::uint64_t random = first_random;

		while (order.size() < n)
			boost::this_fiber::yield();
		for (std::uint64_t i = n; i > 1; i--)
			std::swap(order[i - 1], order[draw(random) % i]);
		for (fibers::context *c : order)
			fibers::context::active()->schedule(c);
	}
	join(all);
	r.operations = rounds * n;
}

void yield(run &r)
{
	yield_among(r, false);
}

void yield_mixed(run &r)
{
	yield_among(r, true);
}

// One alone is dispatched, which saves a turn through the queue.
void spawn(run &r)
{
	std::uint64_t n = r.size, rounds = r.operations / n + 1;
	std::vector<fibers::fiber> all;

	all.reserve(n);
	begin(r);
	for (std::uint64_t i = rounds; i; i--) {
		if (n == 1) {
			start([] {}, fibers::launch::dispatch).join();
			continue;
		}
		for (std::uint64_t k = n; k; k--)
			all.push_back(start([] {}));
		join(all);
		all.clear();
	}
	end(r);
	r.operations = rounds * n;
}

template <typename Stacks> void alive_on(run &r, Stacks &&pool)
{
	static rendezvous never;
	std::uint64_t i, started = 0;
	double resident, tables;

	resident = memory("/proc/self/status", "VmRSS");
	tables = memory("/proc/self/status", "VmPTE");
	begin(r);
	try {
		for (i = 0; i < r.size; i++)
			fibers::fiber(fibers::launch::post, std::allocator_arg,
				      pool,
				      [&] {
					      started++;
					      pop(never);
				      })
				.detach();
	} catch (const std::bad_alloc &) {
		give_up("unavailable", "out of memory mappings after " +
					       std::to_string(i) + " fibers");
	}
	while (started < r.size)
		boost::this_fiber::yield();
	end(r);
	detail(r, "resident_bytes",
	       (memory("/proc/self/status", "VmRSS") - resident) /
		       static_cast<double>(r.size));
	detail(r, "page_table_bytes",
	       (memory("/proc/self/status", "VmPTE") - tables) /
		       static_cast<double>(r.size));
	r.operations = r.size;
}

// Boost's protected_fixedsize_stack takes no notice of a guard page that the
// kernel refuses, unless assertions are on; this one does.
struct guarded_stack {
	std::size_t page =
		fibers::protected_fixedsize_stack::traits_type::page_size();
	std::size_t size =
		fibers::protected_fixedsize_stack::traits_type::default_size() +
		page;

	boost::context::stack_context allocate()
	{
		boost::context::stack_context s;
		void *low = mmap(nullptr, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (low == MAP_FAILED || mprotect(low, page, PROT_NONE) < 0)
			throw std::bad_alloc();
		s.size = size;
		s.sp = static_cast<char *>(low) + size;
		return s;
	}

	void deallocate(boost::context::stack_context &s) noexcept
	{
		munmap(static_cast<char *>(s.sp) - s.size, s.size);
	}
};

// The pool writes to both ends of each stack: two pages and a little.
void alive(run &r)
{
	double needed = static_cast<double>(r.size) * 9000;
	double free = memory("/proc/meminfo", "MemAvailable");

	if (free < needed)
		give_up("unavailable", "it takes " +
					       std::to_string(needed / 1e9) +
					       " GB of memory, free are " +
					       std::to_string(free / 1e9));
	alive_on(r, stacks());
}

void alive_guarded(run &r)
{
	alive_on(r, guarded_stack());
}

// --- what one thread or two do alike ---

using side_fn = void (*)(run &r, int which, void *shared);

template <typename T> struct table {
	T there, back;

	explicit table(std::uint64_t size) : there(size), back(size)
	{
	}
};

template <> struct table<rendezvous> {
	rendezvous there, back;

	explicit table(std::uint64_t)
	{
	}
};

// Each side on a fiber of this thread.
void play(run &r, side_fn side, void *shared)
{
	run other = r;
	std::vector<fibers::fiber> all;

	all.push_back(start([&] { side(other, 1, shared); }));
	all.push_back(start([&] { side(r, 0, shared); }));
	join(all);
}

void pin(std::thread &t, int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(static_cast<std::size_t>(cpu), &set);
	require(pthread_setaffinity_np(t.native_handle(), sizeof set, &set) ==
			0,
		"pthread_setaffinity_np");
}

// Each side on a thread of its own; the wall time of side 0 counts.
void play_on_threads(run &r, side_fn side, void *shared, int n)
{
	std::vector<run> runs(static_cast<std::size_t>(n), r);
	std::vector<std::thread> threads;

	for (int i = 0; i < n; i++) {
		threads.emplace_back([&runs, side, shared, i] {
			side(runs[static_cast<std::size_t>(i)], i, shared);
		});
		pin(threads.back(), n == 2 ? r.cpus[i] : -1);
	}
	for (std::thread &t : threads)
		t.join();
	r = runs[0];
	for (int i = 1; i < n; i++)
		r.cpu_ns += runs[static_cast<std::size_t>(i)].cpu_ns;
}

// --- pingpong, stream ---

void pingpong_side(run &r, int which, void *shared)
{
	auto *t = static_cast<table<rendezvous> *>(shared);

	for (std::uint64_t i = 0; i < r.operations + untimed; i++) {
		if (i == untimed)
			begin(r);
		if (which == 1) {
			t->back.push(pop(t->there));
			continue;
		}
		t->there.push(i);
		require(pop(t->back) == i, "what came back");
	}
	end(r);
}

void pingpong(run &r)
{
	table<rendezvous> t(0);

	play(r, pingpong_side, &t);
}

void pingpong_pair(run &r)
{
	table<rendezvous> t(0);

	play_on_threads(r, pingpong_side, &t, 2);
}

template <typename T> void stream_side(run &r, int which, void *shared)
{
	auto *t = static_cast<table<T> *>(shared);

	for (std::uint64_t i = 0; i < r.operations + untimed; i++) {
		if (i == untimed)
			begin(r);
		if (which == 0)
			t->there.push(i);
		else
			require(t->there.value_pop() == i,
				"the order of messages");
	}
	end(r);
}

void stream(run &r)
{
	if (r.size) {
		table<buffered> t(r.size);

		play(r, stream_side<buffered>, &t);
	} else {
		table<rendezvous> t(0);

		play(r, stream_side<rendezvous>, &t);
	}
}

void stream_pair(run &r)
{
	if (r.size) {
		table<buffered> t(r.size);

		play_on_threads(r, stream_side<buffered>, &t, 2);
	} else {
		table<rendezvous> t(0);

		play_on_threads(r, stream_side<rendezvous>, &t, 2);
	}
}

// Side 0 receives what the others send.
void four_side(run &r, int which, void *shared)
{
	auto *ch = static_cast<buffered *>(shared);
	std::uint64_t share = which == 0 ? senders : 1, sum = 0;
	std::uint64_t n = (r.operations / senders + untimed) * share;

	for (std::uint64_t i = 0; i < n; i++) {
		if (i == untimed * share)
			begin(r);
		if (which == 0)
			sum += ch->value_pop();
		else
			ch->push(1);
	}
	end(r);
	require(which != 0 || sum == n, "the sum of the messages");
}

void stream_four(run &r)
{
	buffered ch(r.size);

	r.operations = (r.operations / senders + 1) * senders;
	play_on_threads(r, four_side, &ch, 1 + senders);
}

// --- ring, sieve ---

void ring(run &r)
{
	std::uint64_t n = r.size;
	std::vector<std::unique_ptr<rendezvous>> links;
	std::vector<fibers::fiber> all;

	for (std::uint64_t i = 0; i < n; i++)
		links.push_back(std::make_unique<rendezvous>());
	for (std::uint64_t i = 0; i < n; i++)
		all.push_back(start([&, i] {
			rendezvous &from = *links[i], &to = *links[(i + 1) % n];
			std::uint64_t token;

			while (from.pop(token) ==
			       fibers::channel_op_status::success) {
				if (token) {
					to.push(token - 1);
					continue;
				}
				end(r);
				for (auto &link : links)
					link->close();
			}
		}));
	boost::this_fiber::yield(); // all wait for the token
	begin(r);
	links[0]->push(r.operations);
	join(all);
}

bool is_nth_prime(std::uint64_t candidate, std::uint64_t n)
{
	bool is_prime = false;

	for (std::uint64_t number = 2; number <= candidate; number++) {
		is_prime = true;
		for (std::uint64_t d = 2; is_prime && d * d <= number; d++)
			is_prime = number % d != 0;
		n -= is_prime;
	}
	return is_prime && n == 0;
}

// What still waits at the end waits on until the process ends: a producer that
// close() wakes leaves a pointer to its stack in the channel (Boost 1.74).
void sieve(run &r)
{
	static std::uint64_t messages;
	std::uint64_t prime = 0;
	auto *from = new rendezvous;

	begin(r);
	start([to = from] {
		for (std::uint64_t number = 2;; number++)
			to->push(number);
	}).detach();
	for (std::uint64_t i = 0; i < r.size; i++) {
		auto *to = new rendezvous;

		prime = pop(*from);
		messages++;
		start([from, to, prime] {
			for (;;) {
				std::uint64_t number = pop(*from);

				messages++;
				if (number % prime)
					to->push(number);
			}
		}).detach();
		from = to;
	}
	end(r);
	r.operations = messages;
	require(is_nth_prime(prime, r.size), "the last prime");
}

// --- the command line ---

const struct task {
	const char *name;
	void (*run)(struct run &r);
	bool fixed; // measured from cold
} tasks[] = {
	{ "alive", alive, true },
	{ "alive-guarded", alive_guarded, true },
	{ "pingpong", pingpong, false },
	{ "pingpong-pair", pingpong_pair, false },
	{ "ring", ring, false },
	{ "sieve", sieve, true },
	{ "spawn", spawn, false },
	{ "stream", stream, false },
	{ "stream-four", stream_four, false },
	{ "stream-pair", stream_pair, false },
	{ "wake", pingpong_pair, false },
	{ "yield", yield, false },
	{ "yield-mixed", yield_mixed, false },
};

const task *task_named(const char *name)
{
	for (const task &t : tasks)
		if (std::strcmp(t.name, name) == 0)
			return &t;
	return nullptr;
}

int usage()
{
	std::fputs("usage: weft-peer-boost-fiber TASK SIZE OPERATIONS CPUS, "
		   "with CPUS none or A,B and one of these tasks:",
		   stderr);
	for (const task &t : tasks)
		std::fprintf(stderr, " %s", t.name);
	std::fputc('\n', stderr);
	return 64;
}

} // namespace

int main(int argc, char **argv)
{
	const task *t = argc == 5 ? task_named(argv[1]) : nullptr;
	run r{ 0, 0, { -1, -1 }, 0, 0, "" };
	std::uint64_t operations;
	char more;

	if (!t || std::sscanf(argv[2], "%ju%c", &r.size, &more) != 1 ||
	    std::sscanf(argv[3], "%ju%c", &operations, &more) != 1)
		return usage();
	if (std::strcmp(argv[4], "none") != 0 &&
	    std::sscanf(argv[4], "%d,%d%c", &r.cpus[0], &r.cpus[1], &more) != 2)
		return usage();
	if (!t->fixed) {
		r.operations = operations / warm_up_part + 1;
		t->run(r);
	}
	r.operations = operations;
	t->run(r);
	std::printf("ok %ju %jd %jd%s\n",
		    static_cast<std::uintmax_t>(r.operations),
		    static_cast<std::intmax_t>(r.wall_ns),
		    static_cast<std::intmax_t>(r.cpu_ns), r.details.c_str());
	std::fflush(stdout);
	std::_Exit(EXIT_SUCCESS); // fibers may still wait
}
