/* SPDX-License-Identifier: MIT */
/*
 * Tasklets of a C++ program: what a tasklet knows of exceptions is its own. It may
 * give way inside a catch block, and in a destructor that an exception has called.
 */
#include <csignal>
#include <exception>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <weft.h>

extern "C" {
#include "support.h"
}

/* The memory of an exception in flight is lost with the stack that it unwinds. */
extern "C" const char *__lsan_default_suppressions()
{
	return "leak:__cxa_allocate_exception";
}

namespace
{

enum { TASKLETS = 50, ROUNDS = 20 };

struct shared {
	weft_channel *channel;
	int n_wrong;
	int n_done;
};

/* Whether the exception that `throw;` throws is @text. */
bool rethrows(const std::string &text)
{
	try {
		throw;
	} catch (const std::exception &e) {
		return text == e.what();
	}
}

/* --- ways to let others run --- */

void give_way(shared *)
{
	weft_schedule();
}

/* Their partner is the next or the last to do the same. */
void pass(shared *s)
{
	static long n;
	long element = 0;

	if (n++ % 2)
		weft_channel_receive(s->channel, &element);
	else
		weft_channel_send(s->channel, &element);
}

void nap(shared *)
{
	weft_sleep(1000);
}

int yield_once(void *)
{
	return weft_schedule();
}

void join(shared *)
{
	weft_tasklet_join(weft_spawn(yield_once, nullptr));
}

void wait_for_group(shared *)
{
	weft_group *g = weft_group_new();

	weft_group_spawn(g, yield_once, nullptr);
	weft_group_wait(g);
	weft_group_free(g);
}

void pump(shared *)
{
	weft_pump();
}

int yield_thrice(void *)
{
	for (int i = 0; i < 3; i++)
		weft_schedule();
	return 0;
}

void switch_to(shared *)
{
	weft_tasklet_run(weft_spawn(yield_thrice, nullptr));
}

void (*const ways[])(shared *) = { give_way,       pass, nap,      join,
				   wait_for_group, pump, switch_to };

/* --- what a tasklet does in between --- */

struct gives_way_at_its_end {
	shared *s;
	void (*way)(shared *);

	~gives_way_at_its_end()
	{
		way(s);
		if (std::uncaught_exceptions() != 1)
			s->n_wrong++;
	}
};

struct job {
	shared *s;
	void (*way)(shared *);
	int number;
};

void catch_two(const job *j, int round)
{
	std::string name = std::to_string(j->number * ROUNDS + round);
	std::string inner = name + " inner";

	try {
		throw std::runtime_error(name);
	} catch (const std::exception &) {
		j->way(j->s);
		try {
			throw std::logic_error(inner);
		} catch (const std::exception &) {
			j->way(j->s);
			j->s->n_wrong += !rethrows(inner);
		}
		j->way(j->s);
		j->s->n_wrong += !rethrows(name);
	}
	j->s->n_wrong += std::current_exception() != nullptr;
}

void unwind(const job *j)
{
	try {
		gives_way_at_its_end g = { j->s, j->way };

		throw j->number;
	} catch (int number) {
		j->s->n_wrong += number != j->number;
	}
	j->s->n_wrong += std::uncaught_exceptions() != 0;
}

int catch_and_unwind(void *arg)
{
	const job *j = static_cast<job *>(arg);

	/* A fresh one has nothing of those that are in the middle of theirs. */
	j->s->n_wrong += std::current_exception() != nullptr;
	j->s->n_wrong += std::uncaught_exceptions() != 0;
	for (int round = 0; round < ROUNDS; round++) {
		if ((round + j->number) % 3)
			catch_two(j, round);
		else
			unwind(j);
	}
	j->s->n_done++;
	return 0;
}

void run_jobs(shared *s, void (*way)(shared *), bool own_fpu)
{
	static job jobs[TASKLETS];
	weft_tasklet_options options = {};

	options.own_fpu = own_fpu;
	for (int i = 0; i < TASKLETS; i++) {
		jobs[i] = { s, way, i };
		weft_spawn_with(&options, catch_and_unwind, &jobs[i]);
	}
	weft_run();
}

} // namespace

/* Whatever the call that lets others run, and whether it is careful or not. */
START_TEST(exceptions_are_the_tasklets_own)
{
	shared s = {};
	void (*way)(shared *) = ways[_i % N_ELEMENTS(ways)];

	s.channel = weft_channel_new(sizeof(long), 0);
	run_jobs(&s, way, static_cast<size_t>(_i) >= N_ELEMENTS(ways));
	ck_assert_int_eq(s.n_done, TASKLETS);
	ck_assert_int_eq(s.n_wrong, 0);
	weft_channel_unref(s.channel);
}
END_TEST

/* Main is no exception. */
START_TEST(main_may_run_others_in_a_catch_block)
{
	shared s = {};

	try {
		throw std::runtime_error("main's");
	} catch (const std::exception &) {
		run_jobs(&s, give_way, false);
		s.n_wrong += !rethrows("main's");
	}
	ck_assert_int_eq(s.n_done, TASKLETS);
	ck_assert_int_eq(s.n_wrong, 0);
	ck_assert(!std::current_exception());
}
END_TEST

namespace
{

int n_alive;

struct counted {
	counted()
	{
		n_alive++;
	}
	counted(const counted &)
	{
		n_alive++;
	}
	~counted()
	{
		n_alive--;
	}
};

int exit_while_catching(void *)
{
	try {
		throw counted();
	} catch (const counted &) {
		try {
			throw counted();
		} catch (const counted &) {
			weft_exit(0);
		}
	}
	return 0;
}

/* A compiler that knew of it would do without the catch block. */
volatile bool exits = true;

struct exits_at_its_end {
	~exits_at_its_end()
	{
		if (exits)
			weft_exit(0);
	}
};

int exit_while_unwinding(void *)
{
	try {
		exits_at_its_end e;

		throw 1;
	} catch (int) {
	}
	return 0;
}

int note_exceptions(void *found)
{
	*static_cast<bool *>(found) = std::current_exception() != nullptr ||
				      std::uncaught_exceptions() != 0;
	return 0;
}

} // namespace

/* Who ends inside a catch block is done with the exceptions, and leaves none. */
START_TEST(exit_inside_a_catch_block_leaves_nothing)
{
	bool found = true;

	weft_spawn(exit_while_catching, nullptr);
	weft_spawn(note_exceptions, &found);
	weft_run();
	ck_assert(!found);
	ck_assert(!std::current_exception());
	ck_assert_int_eq(n_alive, 0);
}
END_TEST

START_TEST(exit_inside_a_destructor_leaves_nothing)
{
	bool found = true;

	weft_spawn(exit_while_unwinding, nullptr);
	weft_spawn(note_exceptions, &found);
	weft_run();
	ck_assert(!found);
	ck_assert_int_eq(std::uncaught_exceptions(), 0);
}
END_TEST

namespace
{

struct notes_its_end {
	bool *noted;

	~notes_its_end()
	{
		*noted = true;
	}
};

int exit_thread(void *noted)
{
	notes_its_end n = { static_cast<bool *>(noted) };

	pthread_exit(nullptr);
	return n.noted != nullptr;
}

void *run_thread_exiter(void *noted)
{
	weft_spawn(exit_thread, noted);
	weft_run();
	return nullptr;
}

int throw_out_of_the_tasklet(void *)
{
	throw 1;
}

int let_one_escape(void)
{
	weft_spawn(throw_out_of_the_tasklet, nullptr);
	weft_run();
	return 0;
}

} // namespace

/* pthread_exit() calls the destructors of the tasklet that it ends. */
START_TEST(pthread_exit_unwinds_the_tasklet)
{
	bool noted = false;

	join_thread(start_thread(run_thread_exiter, &noted));
	ck_assert(noted);
}
END_TEST

/* Nobody is there to catch what leaves a tasklet's function. */
START_TEST(what_escapes_from_a_tasklet_terminates)
{
	char errors[4096];

	ck_assert_int_eq(in_child(let_one_escape, errors, sizeof errors),
			 -SIGABRT);
}
END_TEST

int main()
{
	Suite *s = suite_create("cxx");

	add_loop(s, "exceptions", exceptions_are_the_tasklets_own,
		 2 * N_ELEMENTS(ways));
	add_loop(s, "exceptions", main_may_run_others_in_a_catch_block, 1);
	add_loop(s, "end", exit_inside_a_catch_block_leaves_nothing, 1);
	/* It calls what the exception in flight has a leak. */
	if (!is_under_valgrind())
		add_loop(s, "end", exit_inside_a_destructor_leaves_nothing, 1);
	/* It lets no fiber call that. */
	if (!UNDER_TSAN)
		add_loop(s, "end", pthread_exit_unwinds_the_tasklet, 1);
	add_loop(s, "end", what_escapes_from_a_tasklet_terminates, 1);
	return run_suite(s);
}
