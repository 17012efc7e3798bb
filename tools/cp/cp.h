/* SPDX-License-Identifier: MIT */
/*
 * weft-cp: what its parts share. The work lies in a pool (pool.c): folders that are to
 * be read, and batches of names that are to be copied. Jobs, which are tasklets of one
 * thread per CPU, take it from there.
 */
#ifndef CP_H
#define CP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <weft.h>

enum {
	MAX_THREADS = 64,
	MAX_JOBS = 1024,
	BUFFER = 256 * 1024,
	NAME_SIZE = 64 /* of a temporary name */
};

/* Which symbolic links of the sources are followed. */
enum follow { FOLLOW_USUAL, FOLLOW_NONE, FOLLOW_OPERANDS, FOLLOW_ALL };

struct settings {
	bool is_recursive, is_archive, is_synced, is_verified;
	bool has_no_target_folder;
	bool keeps_targets;    /* that are there already */
	bool is_of_one_system; /* what is mounted in a tree is left out */
	enum follow follow;
	size_t n_threads,
		n_jobs;   /* 0: not said. The jobs are those of all threads */
	size_t n_folders; /* that may be open at the same time */
	uid_t user;
	gid_t group;
	pid_t process;
};
extern struct settings settings;

/* --- jobs: pool.c --- */

struct job {
	struct crew *crew; /* those of its thread */
};

/* Names of a folder that one job copies: each behind a byte, its type (DT_REG...). */
struct batch {
	struct batch *next;
	struct folder *folder;
	size_t n, n_bytes;
	char names[4096];
};

/* Starts the threads and their jobs: 0, or why they cannot work. */
int pool_start(void);
/* Returns when there is nothing left to do. */
void pool_wait(void);
/* No job is left on the other threads; those of this one end by themselves. */
void pool_end(void);
void pool_free(void);

void pool_add_folder(struct job *j, struct folder *f);
/* False: there are many already. Then the caller copies it. */
bool pool_add_batch(struct job *j, struct batch *b);

/* A buffer of BUFFER bytes, the one that was used last. Or NULL. */
char *pool_take_buffer(struct job *j);
void pool_give_buffer(struct job *j, char *buffer);

/* A signal has come, so that nothing new is begun. The channel is then closed. */
extern atomic_bool is_stopped;
extern weft_channel *stopped;

/* What the calling tasklet waits for between these, such as somebody at the other end of
 * a FIFO, fails with -ECANCELED when a signal has come. */
struct stoppable {
	struct stoppable *next, **link;
	weft_tasklet tasklet;
};
void stoppable_begin(struct stoppable *s);
void stoppable_end(struct stoppable *s);

/* --- folders: folder.c --- */

/*
 * A folder of the source and the one that it becomes. Their descriptors are a cache:
 * between folder_enter() and folder_leave() they are open.
 */
struct folder {
	struct folder *parent; /* NULL: the names are paths of folders */
	char *name, *new_name;
	const char *alias; /* of the one name to be copied, or NULL: the same */
	bool follows;      /* symbolic links in it are followed */

	/* for jobs in it */
	int source, target;
	bool is_new;       /* it was made here, and was empty */
	bool is_foreign;   /* of another file system, and that is left out */
	bool has_acl;      /* what is made in it gets an ACL by default */
	bool is_on_disk;   /* when it was opened, it was not in memory */
	bool is_in_memory; /* the source's file system has no disk */

	/* folder.c, under its lock */
	enum { CLOSED, OPENING, OPEN } state;
	bool is_made, is_broken;
	unsigned n_refs, n_pending, n_pins, n_waiting;
	weft_semaphore opened;
	struct folder *older, *newer; /* open, and nobody is in it */
	struct stat source_stat, target_stat;
};

/* With one reference and one pending. NULL: no memory. */
struct folder *folder_new(struct folder *parent, const char *name,
			  const char *new_name);
void folder_ref(struct folder *f);
void folder_unref(struct folder *f);

/* Opens both, and makes the new one at first. False: it is said why not. */
bool folder_enter(struct folder *f);
void folder_leave(struct folder *f);

/* Something in it is to be copied; was copied. When nothing is left, the folder gets
 * its attributes. */
void folder_hold(struct folder *f);
void folder_drop(struct folder *f);

/* Gives all names in it to the pool. */
void folder_walk(struct job *j, struct folder *f);

/* Whether @f or a folder that it is in becomes this one. */
bool folder_is_target(const struct folder *f, const struct stat *st);

/* --- files: entry.c, data.c, attributes.c, links.c --- */

void copy_batch(struct job *j, struct batch *b);

/* Calls @make with a name that is not there yet, and returns what it returns. */
int make_temporary(int (*make)(void *arg, const char *name), void *arg,
		   char name[NAME_SIZE]);

struct contents {
	int in, out;
	struct stat in_stat;
	dev_t out_device;
	bool is_stream;    /* one of them is no regular file */
	bool is_in_memory; /* the source's file system */
};

/* 0 or a negative errno. *@is_reading: it is the source's. */
int copy_contents(struct job *j, const struct contents *c, bool *is_reading);
/* 1: they differ. */
int compare_contents(const struct contents *c);

/* What is to get attributes: by a descriptor, or by a name in a folder. */
struct object {
	int from, to;     /* descriptors of both, or of their folders */
	const char *name; /* NULL: by descriptor */
	const char *new_name;
	const struct stat *from_stat;
	bool may_have_acl; /* by default, which the source does not have */
};

/* Owner, extended attributes, mode, times. 0 or a negative errno. */
int set_attributes(const struct object *o);
/* Takes away what a new folder has got from the one above. */
void remove_acls(int fd);

/* A file with several names. */
struct link;
/* The caller has the first name, *@is_first, and calls links_copied(). Otherwise the
 * first name has been copied, and this is where it lies. NULL: no memory. */
struct link *links_claim(const struct stat *st, struct folder *f,
			 const char *new_name, bool *is_first);
void links_copied(struct link *l, bool is_copied);
struct folder *links_folder(const struct link *l);
const char *links_name(const struct link *l);
void links_free(void);

/* --- messages: progress.c --- */

enum side { SOURCE, TARGET };

/* Says "cannot VERB 'PATH': ERROR"; the exit status will be 1. @name is one in @f, or
 * NULL for the folder itself. */
void complain(const struct folder *f, enum side side, const char *name,
	      const char *verb, int error);
void complain_path(const char *path, const char *verb, int error);
extern atomic_bool has_failed;

struct progress {
	atomic_ullong n_files, n_bytes;
	atomic_llong n_bytes_known; /* of all that is to be copied */
	atomic_bool is_known;
};
extern struct progress progress;

/* A line that is renewed, if standard error is a terminal. @paths, @n of them, are
 * what is to be copied. */
void progress_start(char *const *paths, size_t n);
void progress_end(void);

#endif /* CP_H */
