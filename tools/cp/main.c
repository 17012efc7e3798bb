/* SPDX-License-Identifier: MIT */
/*
 * weft-cp: copies files and trees, many at a time. This is the command line, the
 * operands and the signals; pool.c says who does the work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../option.h"
#include "../process.h"
#include "cp.h"

enum {
	DEFAULT_JOBS = 64,
	DEFAULT_THREADS = 8, /* at most */
	MANY_FOLDERS = 512,

	/* descriptors */
	OTHERS = 16,     /* of the program and of the library */
	OF_THREAD = 4,   /* its engine's */
	OF_COUNTING = 16 /* for the line on a terminal */
};

struct settings settings;
atomic_bool is_stopped;
weft_channel *stopped;

static char **operands; /* the last is where the others go */
static size_t n_operands;
static int interrupted_by;

/* --- the command line --- */

enum { OPTION_SYNC = 256, OPTION_VERIFY };

static const struct argp_option options[] = {
	{ "archive", 'a', NULL, 0,
	  "copy trees with owners, modes, times, extended attributes and hard links",
	  0 },
	{ "recursive", 'r', NULL, 0,
	  "copy folders, with all that is in them; symbolic links and FIFOs as such",
	  0 },
	{ "dereference", 'L', NULL, 0, "copy what symbolic links point to", 0 },
	{ NULL, 'H', NULL, 0,
	  "copy what those symbolic links point to that are sources", 0 },
	{ "no-dereference", 'P', NULL, 0, "copy symbolic links as such", 0 },
	{ "no-clobber", 'n', NULL, 0, "keep what is there already", 0 },
	{ "one-file-system", 'x', NULL, 0,
	  "leave out what is mounted in a tree", 0 },
	{ "no-target-directory", 'T', NULL, 0,
	  "the copy is TARGET, also if there is such a folder", 0 },
	{ "sync", OPTION_SYNC, NULL, 0,
	  "give each file its name when it is on the disk, and end when all is",
	  1 },
	{ "verify", OPTION_VERIFY, NULL, 0,
	  "read each copy, and compare it with the source before it gets its name",
	  1 },
	{ "jobs", 'j', "N", 0, "copy N files at a time (64)", 2 },
	{ "threads", 't', "N", 0,
	  "use N threads, each with a scheduler of its own (one for each CPU, up to 8)",
	  2 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'a':
		settings.is_archive = settings.is_recursive = true;
		return 0;
	case 'r':
		settings.is_recursive = true;
		return 0;
	case 'L':
		settings.follow = FOLLOW_ALL;
		return 0;
	case 'H':
		settings.follow = FOLLOW_OPERANDS;
		return 0;
	case 'P':
		settings.follow = FOLLOW_NONE;
		return 0;
	case 'n':
		settings.keeps_targets = true;
		return 0;
	case 'x':
		settings.is_of_one_system = true;
		return 0;
	case 'T':
		settings.has_no_target_folder = true;
		return 0;
	case OPTION_SYNC:
		settings.is_synced = true;
		return 0;
	case OPTION_VERIFY:
		settings.is_verified = true;
		return 0;
	case 'j':
		settings.n_jobs =
			option_number(state, "jobs", arg, 1, MAX_JOBS);
		return 0;
	case 't':
		settings.n_threads =
			option_number(state, "threads", arg, 1, MAX_THREADS);
		return 0;
	case ARGP_KEY_ARGS:
		operands = state->argv + state->next;
		n_operands = (size_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_END:
		if (n_operands < 2)
			argp_error(state,
				   "a source and a target have to be named");
		if (n_operands > 2 && settings.has_no_target_folder)
			argp_error(
				state,
				"with --no-target-directory there is one source");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc = "SOURCE... TARGET",
	.doc = "Copy files and trees, many at a time.\v"
	       "If TARGET is a folder, the copies go into it. What has the name of a copy "
	       "is replaced when the copy is complete. If a file cannot be copied, the "
	       "others are, and the exit status is 1. SIGINT and SIGTERM leave no file "
	       "that is not complete.",
};

/* --- what may be open --- */

static size_t count_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) ? 1
						      : (size_t)CPU_COUNT(&set);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* A job has two files open, and three pairs of folders (folder.c). */
static void share_descriptors(void)
{
	struct rlimit limit = { .rlim_cur = 256 };
	size_t reserve, n, most;

	process_allow_many_files();
	getrlimit(RLIMIT_NOFILE, &limit);
	if (!settings.n_threads)
		settings.n_threads = least(count_cpus(), DEFAULT_THREADS);
	if (!settings.n_jobs)
		settings.n_jobs = DEFAULT_JOBS;
	reserve = OTHERS + OF_THREAD * settings.n_threads +
		  (isatty(STDERR_FILENO) ? OF_COUNTING : 0);
	n = limit.rlim_cur > reserve ? limit.rlim_cur - reserve : 0;
	most = n / 8 ? n / 8 : 1;
	settings.n_jobs = least(settings.n_jobs, most);
	settings.n_threads = least(settings.n_threads, settings.n_jobs);
	settings.n_folders = 3 * settings.n_jobs;
	if (n > 8 * settings.n_jobs)
		settings.n_folders +=
			least((n - 8 * settings.n_jobs) / 2, MANY_FOLDERS);
}

/* --- signals --- */

static sigset_t signals;

/* Those that are ignored stay so. A pipe that nobody reads is an error of one file. */
static void block_signals(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		struct sigaction action;

		if (sigaction(numbers[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&signals, numbers[i]);
	}
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stoppable *all_stoppable;

/* The lock orders this and stop(): it is stopped here, or is in the list there. */
void stoppable_begin(struct stoppable *s)
{
	*s = (struct stoppable){ .link = &all_stoppable,
				 .tasklet = weft_current() };
	pthread_mutex_lock(&lock);
	s->next = all_stoppable;
	if (s->next)
		s->next->link = &s->next;
	all_stoppable = s;
	if (is_stopped)
		weft_tasklet_raise(s->tasklet, ECANCELED, WEFT_PENDING);
	pthread_mutex_unlock(&lock);
}

void stoppable_end(struct stoppable *s)
{
	pthread_mutex_lock(&lock);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	pthread_mutex_unlock(&lock);
}

/* An error that is raised too late meets a tasklet that ends anyway. */
static void stop(void)
{
	pthread_mutex_lock(&lock);
	is_stopped = true;
	for (struct stoppable *s = all_stoppable; s; s = s->next)
		weft_tasklet_raise(s->tasklet, ECANCELED, WEFT_PENDING);
	pthread_mutex_unlock(&lock);
	weft_channel_close(stopped);
}

static int wait_for_signal(void *arg)
{
	int rc = weft_signal_wait(&signals, NULL);

	(void)arg;
	if (rc == -ECANCELED)
		return rc;
	if (rc > 0) {
		interrupted_by = rc;
		stop();
	}
	/* The next one ends the program where it is, and so does the first if it
	 * could not be waited for. */
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	return 0;
}

/* --- operands --- */

/* A path without slashes at its end, cut into folder and name, both to be freed. */
static bool split(const char *path, char **folder, char **name)
{
	size_t n = strlen(path), at;

	while (n > 1 && path[n - 1] == '/')
		n--;
	for (at = n; at > 0 && path[at - 1] != '/'; at--)
		;
	/* "/" alone, too, is a folder in itself */
	*name = at == n ? strdup(".") : strndup(path + at, n - at);
	if (at == 0) {
		*folder = strdup(".");
	} else {
		while (at > 1 && path[at - 1] == '/')
			at--;
		*folder = strndup(path, at);
	}
	return *folder && *name;
}

/* Whether @folder is the folder with that identity, or lies in it. */
static bool lies_in(const char *folder, const struct stat *outer)
{
	int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), up;
	struct stat st, last = { 0 };
	bool is_in = false;

	while (fd >= 0 && fstat(fd, &st) == 0 && !is_in &&
	       (st.st_dev != last.st_dev || st.st_ino != last.st_ino)) {
		is_in = st.st_dev == outer->st_dev &&
			st.st_ino == outer->st_ino;
		last = st;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
	}
	if (fd >= 0)
		close(fd);
	return is_in;
}

/* Consecutive operands of one folder are copied together. */
static struct folder *root;
static struct batch *names;

static void end_root(void)
{
	if (!root)
		return;
	if (names)
		pool_add_batch(NULL, names);
	names = NULL;
	folder_drop(root);
	root = NULL;
	pool_wait();
}

static bool add_to_root(const char *name)
{
	size_t n = strlen(name) + 1;

	if (names && names->n_bytes + n + 1 > sizeof names->names) {
		pool_add_batch(NULL, names);
		names = NULL;
	}
	if (!names) {
		names = malloc(sizeof *names);
		if (!names)
			return false;
		names->n = names->n_bytes = 0;
		names->folder = root;
		folder_hold(root);
	}
	names->names[names->n_bytes++] = DT_UNKNOWN;
	memcpy(names->names + names->n_bytes, name, n);
	names->n_bytes += n;
	names->n++;
	return true;
}

static bool add_operand(bool follows, const char *folder, const char *name,
			const char *target, const char *alias)
{
	if (strcmp(name, "..") == 0 && !alias)
		alias = ".";
	if (root && (alias || root->alias || follows != root->follows ||
		     strcmp(root->name, folder) != 0))
		end_root();
	if (!root) {
		root = folder_new(NULL, folder, target);
		if (!root)
			return false;
		root->follows = follows;
		root->alias = alias;
	}
	return add_to_root(name);
}

/* --- what has gone into a folder by now --- */

struct copied {
	dev_t device;
	ino_t inode;
	char name[];
};

static void *all_copied; /* a tree of tsearch(3) */

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct copied *)a)->name,
		      ((const struct copied *)b)->name);
}

/* Whether a source may get the name @name there. What was copied for another one is
 * not replaced; folders are merged. */
static bool claim_name(const char *path, const char *name, bool follows)
{
	size_t n = strlen(name) + 1;
	struct copied *c, **found;
	bool is_new, is_same;
	struct stat st;

	if (fstatat(AT_FDCWD, path, &st, follows ? 0 : AT_SYMLINK_NOFOLLOW))
		return true; /* what is wrong will be said */
	c = malloc(sizeof *c + n);
	if (c) {
		c->device = st.st_dev;
		c->inode = st.st_ino;
		memcpy(c->name, name, n);
	}
	found = c ? tsearch(c, &all_copied, compare_names) : NULL;
	if (!found) {
		free(c);
		complain_path(path, "copy", -ENOMEM);
		return false;
	}
	is_new = *found == c;
	is_same = !is_new && (*found)->device == st.st_dev &&
		  (*found)->inode == st.st_ino;
	if (!is_new)
		free(c);
	if (is_new || S_ISDIR(st.st_mode))
		return true;
	if (!is_same)
		complain_path(path, "copy, another source has this name:", 0);
	return false;
}

/* --- one operand --- */

static bool follows_operands(void)
{
	return settings.follow == FOLLOW_USUAL ? !settings.is_recursive
					       : settings.follow != FOLLOW_NONE;
}

/* @alias: the name that the copy gets in @target; NULL: its own */
static void copy_operand(const char *path, const char *target,
			 const char *alias)
{
	char *folder = NULL, *name = NULL;
	size_t n = strlen(path);
	struct stat st = { 0 };
	int error = stat(path, &st) ? errno : 0;
	bool has_slash = n > 1 && path[n - 1] == '/';
	bool follows = has_slash || follows_operands();

	if (!n)
		complain_path(path, "copy", -ENOENT);
	else if (n >= sizeof names->names - 2)
		complain_path(path, "copy", -ENAMETOOLONG);
	else if (error && has_slash)
		complain_path(path, "copy", -error);
	else if (S_ISDIR(st.st_mode) && settings.is_recursive &&
		 lies_in(target, &st))
		complain_path(path, "copy into itself:", 0);
	else if (!split(path, &folder, &name))
		complain_path(path, "copy", -ENOMEM);
	else if ((alias || claim_name(path, name, follows)) &&
		 !add_operand(follows, folder, name, target, alias))
		complain_path(path, "copy", -ENOMEM);
	free(folder);
	free(name);
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void copy_operands(void)
{
	const char *target = operands[n_operands - 1];
	bool has_folder = is_folder(target) && !settings.has_no_target_folder;
	char *folder = NULL, *name = NULL;

	if (has_folder) {
		for (size_t i = 0; i + 1 < n_operands && !is_stopped; i++)
			copy_operand(operands[i], target, NULL);
	} else if (n_operands > 2 ||
		   (target[0] && target[strlen(target) - 1] == '/' &&
		    !is_folder(operands[0]))) {
		complain_path(target, "copy into", -ENOTDIR);
	} else if (!target[0]) {
		complain_path(target, "create", -ENOENT);
	} else if (split(target, &folder, &name)) {
		copy_operand(operands[0], folder, name);
		end_root(); /* it has the name */
	} else {
		complain_path(target, "copy to", -ENOMEM);
	}
	end_root();
	free(folder);
	free(name);
}

/* --- the course --- */

static void end_by_signal(void)
{
	fprintf(stderr, "%s: interrupted\n", program_invocation_short_name);
	signal(interrupted_by, SIG_DFL);
	raise(interrupted_by);
}

int main(int argc, char **argv)
{
	weft_tasklet watch;
	int rc;

	option_parse(&parser, argc, argv, NULL);
	if (settings.is_archive)
		umask(0); /* modes are the sources' */
	settings.user = geteuid();
	settings.group = getegid();
	settings.process = getpid();
	share_descriptors();
	block_signals();
	stopped = weft_channel_new(0, 0);
	rc = stopped ? pool_start() : -ENOMEM;
	if (rc) {
		fprintf(stderr,
			"%s: cannot work: %s (weft-info tells what is missing)\n",
			program_invocation_short_name, strerror(-rc));
		return EXIT_FAILURE;
	}
	watch = weft_spawn(wait_for_signal, NULL);
	progress_start(operands, n_operands - 1);
	copy_operands();
	progress_end();
	pool_end();
	weft_tasklet_kill(watch, 0);
	weft_run();
	links_free();
	pool_free();
	tdestroy(all_copied, free);
	weft_channel_unref(stopped);
	if (interrupted_by)
		end_by_signal();
	return has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
