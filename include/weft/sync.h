/* SPDX-License-Identifier: MIT */
/**
 * sync - mutexes, conditions, semaphores, read-write locks
 *
 * For what tasklets of any threads share. A call that has to wait blocks the
 * tasklet, never its thread, and all are fair: first come, first served. What is
 * given back goes straight to the one who has waited longest, who goes to the end
 * of its ring; who gave it goes on. Where nobody waits, a call is one instruction
 * on one word and the scheduler is not asked.
 *
 * The objects are the caller's, anywhere in the memory of its process, and hold
 * nothing that would have to be freed: one may go when nobody waits for it and no
 * call on it will come. Who has just taken it, or was woken, may free it though the
 * call on another thread that let it go or woke it has not returned yet; and so may
 * who has just broadcast. Zero bytes are a valid object (a semaphore of 0). They
 * must not be copied or moved while in use.
 *
 * A tasklet that ends does not let go of anything: what it held stays held, by
 * nobody who could let it go. Calls that wait for it wait on, until they are killed,
 * out of time or told of a deadlock; trylock calls return -EBUSY and unlock -EPERM,
 * to tasklets born later too. weft_defer() is the place to unlock what must not be
 * left behind. An object that was left so can be initialised anew when nobody waits
 * for it. In a child of fork() what tasklets of other threads held stays so too,
 * but they wait for nothing any more.
 */
#ifndef WEFT_SYNC_H
#define WEFT_SYNC_H

#include <weft/base.h>
#include <weft/offload.h>

WEFT_BEGIN_DECLS

/* What all of them are. Its fields are private. */
struct weft__sync {
	uintptr_t word;
	void *oldest, *newest;
};

/* --- mutex --- */

/** A lock that one tasklet holds. Its fields are private. */
typedef struct weft_mutex {
	struct weft__sync weft__sync;
} weft_mutex;

/* clang-format off */
#define WEFT_MUTEX_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_mutex_lock - take a mutex, or wait until it is handed over
 *
 * Return: 0 when the caller holds it. Otherwise it does not:
 *   -EDEADLK    this very tasklet, and not one before it, holds the mutex
 *               already, and is in no deadline scope that would end the wait; or
 *               it waited, and all threads of the process have come to a
 *               deadlock (weft/scheduler.h)
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what its holders did before they unlocked it is visible.
 */
WEFT_API int weft_mutex_lock(weft_mutex *m);

/**
 * weft_mutex_trylock - take a mutex if it is free
 *
 * Return: 0, or -EBUSY when somebody holds it, be it the caller.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_mutex_trylock(weft_mutex *m);

/**
 * weft_mutex_unlock - let a mutex go, or hand it over
 *
 * The one who has waited longest holds it from then on.
 *
 * Return: 0, or -EPERM when the caller does not hold it.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_mutex_unlock(weft_mutex *m);

/* --- condition --- */

/** Tasklets that wait for something to change. Its fields are private. */
typedef struct weft_condition {
	struct weft__sync weft__sync;
} weft_condition;

/* clang-format off */
#define WEFT_CONDITION_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_condition_wait - let a mutex go, wait to be woken, take it again
 * @c: what is waited for
 * @m: the caller holds it
 *
 * A signal or broadcast that comes after @m was let go is not missed. There are
 * no wakes without one, but others may have held @m in between: look again.
 *
 * The caller holds @m again, whatever is returned, and waits for it as long as
 * that takes: only then do kill, raise and deadlines count again. One who was
 * signalled and interrupted at once gets 0, and the error with the next call. The
 * one exception is a deadlock while it waits for @m: then -EDEADLK is returned
 * and it does not hold it, as weft_mutex_unlock() will say.
 *
 * Return: 0 when it was woken; otherwise
 *   -EPERM      the caller does not hold @m
 *   -EAGAIN     a block trap is set; @m was not let go
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, switches.
 */
WEFT_API int weft_condition_wait(weft_condition *c, weft_mutex *m);

/**
 * weft_condition_signal - wake the one who has waited longest, if any
 *
 * It goes to the end of its ring. Whether the caller holds the mutex is its own
 * affair; what was changed must have been changed under it.
 *
 * Return: 0, or -ENOMEM when the thread could not be attached: nobody was woken.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_condition_signal(weft_condition *c);

/**
 * weft_condition_broadcast - wake all who wait, in the order of their coming
 *
 * Return, context: as weft_condition_signal().
 */
WEFT_API int weft_condition_broadcast(weft_condition *c);

/* --- semaphore --- */

/** A number of units to take and to give. Its fields are private. */
typedef struct weft_semaphore {
	struct weft__sync weft__sync;
} weft_semaphore;

/** The most units that a semaphore can have. */
#define WEFT_SEMAPHORE_MAX INT32_MAX

/* clang-format off */
/** @n units to begin with, 0 up to WEFT_SEMAPHORE_MAX. */
#define WEFT_SEMAPHORE_INIT(n) { { (uintptr_t)(n) << 1, NULL, NULL } }
/* clang-format on */

/**
 * weft_semaphore_wait - take a unit, or wait until one is posted
 *
 * Return: 0 when the caller has it. Otherwise it has not, and what any blocking
 * call may return.
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what was done before the unit was posted is visible.
 */
WEFT_API int weft_semaphore_wait(weft_semaphore *sem);

/**
 * weft_semaphore_trywait - take a unit if there is one
 *
 * Return: 0, or -EAGAIN.
 * Context: any thread; never switches.
 */
WEFT_API int weft_semaphore_trywait(weft_semaphore *sem);

/**
 * weft_semaphore_post - give a unit, to the one who has waited longest if any
 *
 * Return: 0; -EOVERFLOW when there are WEFT_SEMAPHORE_MAX already; -ENOMEM when
 * somebody waits and the thread could not be attached.
 * Context: any thread; never switches.
 */
WEFT_API int weft_semaphore_post(weft_semaphore *sem);

/* --- read-write lock --- */

/** A lock that one writer or any number of readers hold. Its fields are
 * private. */
typedef struct weft_rwlock {
	struct weft__sync weft__sync;
} weft_rwlock;

/* clang-format off */
#define WEFT_RWLOCK_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_rwlock_rdlock - hold a lock together with other readers
 *
 * A reader that comes while somebody waits, waits behind them, so writers are
 * not starved. Who holds the lock as a reader and locks it again can so wait for
 * itself, which nobody notices.
 *
 * Return: 0 when the caller holds it. Otherwise it does not:
 *   -EDEADLK    the caller holds it as the writer, and is in no deadline scope
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what its writers did before they unlocked it is visible.
 */
WEFT_API int weft_rwlock_rdlock(weft_rwlock *l);

/**
 * weft_rwlock_wrlock - hold a lock alone
 *
 * Return, context: as weft_rwlock_rdlock().
 * Ordering: what all its holders did before they unlocked it is visible.
 */
WEFT_API int weft_rwlock_wrlock(weft_rwlock *l);

/**
 * weft_rwlock_tryrdlock - hold a lock with other readers if nobody else holds it
 * or waits for it
 *
 * Return: 0 or -EBUSY.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_rwlock_tryrdlock(weft_rwlock *l);

/**
 * weft_rwlock_trywrlock - hold a lock alone if nobody holds it
 *
 * Return, context: as weft_rwlock_tryrdlock().
 */
WEFT_API int weft_rwlock_trywrlock(weft_rwlock *l);

/**
 * weft_rwlock_unlock - let go of a lock, held either way
 *
 * When nobody holds it any more it goes to the one who has waited longest: a
 * writer, or a reader and all readers who wait behind it up to the next writer.
 *
 * Return: 0; -EPERM when nobody holds it, or another tasklet as the writer. That
 * the caller is not one of the readers goes unnoticed.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_rwlock_unlock(weft_rwlock *l);

WEFT_END_DECLS

#endif /* WEFT_SYNC_H */
