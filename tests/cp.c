/* SPDX-License-Identifier: MIT */
/*
 * weft-cp, the program that WEFT_CP names: trees with all that can be in them, what
 * goes wrong, and what is left when it is interrupted. No time is judged.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "program.h"
#include "support.h"

enum {
	TEXT = 64 * 1024,
	MAX_OPTIONS = 10,
	FEW_FILES = 64,
	DEPTH = 60,
	NOBODY = 65534,
	N_MANY = 300
};

#define MIB (1024 * 1024)

static char folder[] = "/tmp/weft-cp-XXXXXX";
static char output[TEXT];

static void make_root(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	umask(022);
}

static void remove_root(void)
{
	char command[128];

	snprintf(command, sizeof command, "chmod -R u+rwx %s; rm -rf %s",
		 folder, folder);
	if (chdir("/") || system(command))
		perror(folder);
}

/* --- the program --- */

static const char *program(void)
{
	static char path[4096];

	return path[0] ? path : realpath(getenv("WEFT_CP"), path);
}

/* Into a mount namespace of the test's own. False: it has called skip(). */
static bool can_mount(void)
{
	if (unshare(CLONE_NEWNS) == 0 &&
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return true;
	skip("no mount: %s", strerror(errno));
	return false;
}

static struct program launch(const char *const *arguments, rlim_t n_files)
{
	return program_start("WEFT_CP", "tools/weft-cp", arguments, n_files);
}

static int run_with(rlim_t n_files, const char *const *arguments)
{
	struct program p = launch(arguments, n_files);

	return program_end(&p, output, sizeof output);
}

/* Its exit status; what it said is in `output`. */
#define CP(...) run_with(0, (const char *const[]){ __VA_ARGS__, NULL })
#define CP_WITH(n_files, ...) \
	run_with(n_files, (const char *const[]){ __VA_ARGS__, NULL })

#define SUCCEEDS(...) \
	ck_assert_msg(CP(__VA_ARGS__) == 0 && !output[0], "%s", output)

static void says(const char *what)
{
	ck_assert_msg(strstr(output, what), "'%s' is not in: %.3000s", what,
		      output);
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int shell(const char *format, ...)
{
	char command[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof command, format, arguments);
	va_end(arguments);
	return system(command);
}

/* --- files --- */

static void make_file(const char *name, const char *data, size_t n)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
	close(fd);
}

static void make_random(const char *name, size_t n)
{
	char *data = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		data[i] = (char)(i * 2654435761u >> 13);
	make_file(name, data, n);
	free(data);
}

static struct stat look(const char *name)
{
	struct stat st;

	ck_assert_msg(lstat(name, &st) == 0, "%s: %s", name, strerror(errno));
	return st;
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(name, &st) == 0;
}

static bool is_equal(const char *a, const char *b)
{
	return shell("cat %s | cmp -s - %s", a, b) == 0;
}

/* No temporary name is left in the folder or below. */
static void nothing_is_left(const char *where)
{
	ck_assert_int_eq(
		shell("test -z \"$(find %s -name '.weft-cp*')\"", where), 0);
}

/* --- tests: contents --- */

/* Sizes around those at which another way begins. */
static const size_t sizes[] = { 0,      1,       4095,        4096,
				262142, 262143,  262144,      262145,
				MIB,    8 * MIB, 8 * MIB + 1, 20 * MIB };

START_TEST(files_of_all_sizes)
{
	make_random("a", sizes[_i]);
	SUCCEEDS("a", "b");
	ck_assert(is_equal("a", "b"));
	SUCCEEDS("--verify", "--sync", "-a", "a", "c");
	ck_assert(is_equal("a", "c"));
	nothing_is_left(".");
}
END_TEST

/* Data, and holes at the beginning, between and at the end: the copy has them, too. */
START_TEST(holes_are_kept)
{
	int fd = open("a", O_CREAT | O_RDWR | O_CLOEXEC, 0644), copy;

	ck_assert_int_eq(pwrite(fd, "x", 1, 3 * MIB), 1);
	ck_assert_int_eq(pwrite(fd, "y", 1, 30 * MIB + 5), 1);
	ck_assert_int_eq(ftruncate(fd, 50 * MIB + 3), 0);
	SUCCEEDS("--verify", "a", "b");
	ck_assert(is_equal("a", "b"));
	ck_assert_int_eq(look("b").st_size, 50 * MIB + 3);
	copy = open("b", O_RDONLY | O_CLOEXEC);
	for (off_t at = 0; lseek(fd, at, SEEK_DATA) >= 0;) {
		at = lseek(fd, at, SEEK_DATA);
		ck_assert_int_eq(lseek(copy, at, SEEK_DATA), at);
		at = lseek(fd, at, SEEK_HOLE);
		ck_assert_int_eq(lseek(copy, at, SEEK_HOLE), at);
	}
	/* nothing but a hole */
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(ftruncate(fd, MIB), 0);
	SUCCEEDS("a", "b");
	ck_assert_int_eq(look("b").st_size, MIB);
	ck_assert_int_eq(look("b").st_blocks, 0);
	close(fd);
	close(copy);
}
END_TEST

/* Where the kernel does not copy by itself, pieces are read and written. */
START_TEST(across_file_systems)
{
	char other[] = "/dev/shm/weft-cp-XXXXXX", name[64];
	struct stat here = look("."), there;

	if (!mkdtemp(other)) {
		skip("no /dev/shm: %s", strerror(errno));
		return;
	}
	there = look(other);
	make_random("a", 20 * MIB + 1);
	if (here.st_dev != there.st_dev) {
		SUCCEEDS("-a", "--verify", "a", other);
		snprintf(name, sizeof name, "%s/a", other);
		SUCCEEDS("-a", "--verify", name, "c");
	}
	shell("rm -rf %s", other);
	if (here.st_dev == there.st_dev)
		skip("/dev/shm is no file system of its own");
	else
		ck_assert(is_equal("a", "c"));
}
END_TEST

/* Their size says nothing. */
START_TEST(files_of_proc)
{
	SUCCEEDS("/proc/version", "b");
	ck_assert(is_equal("/proc/version", "b"));
	SUCCEEDS("-r", "/proc/self/limits", "c");
	ck_assert_int_gt(look("c").st_size, 100);
}
END_TEST

/* A single one is read, unless it is to be copied as what it is. */
START_TEST(a_fifo_is_read)
{
	const char *const arguments[] = { "fifo", "b", NULL };
	struct program p;
	int fd;

	ck_assert_int_eq(mkfifo("fifo", 0640), 0);
	p = launch(arguments, 0);
	fd = open("fifo", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "hello", 5), 5);
	close(fd);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 0);
	ck_assert_int_eq(look("b").st_size, 5);
	SUCCEEDS("-r", "fifo", "c");
	ck_assert(S_ISFIFO(look("c").st_mode));
}
END_TEST

/* What is no file is written to, and stays what it is. With -a, too: a slip must not
 * cost a system its /dev/null. It is a FIFO here, for the same reason. */
START_TEST(a_device_stays_one)
{
	const char *const arguments[] = { "-a", "a", "fifo", NULL };
	struct program p;
	char data[101];
	int fd;

	make_random("a", 100);
	SUCCEEDS("a", "/dev/null");
	ck_assert(S_ISCHR(look("/dev/null").st_mode));
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	fd = open("fifo", O_RDWR | O_CLOEXEC);
	p = launch(arguments, 0);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 0);
	ck_assert(S_ISFIFO(look("fifo").st_mode));
	ck_assert_int_eq(read(fd, data, sizeof data), 100);
	close(fd);
}
END_TEST

/* As /dev/stdout is: the file gets it, and the link stays. */
START_TEST(a_link_of_proc_stays_one)
{
	make_file("a", "more\n", 5);
	ck_assert_int_eq(symlink("/proc/self/fd/1", "l"), 0);
	ck_assert_int_eq(shell("echo some >out; '%s' a l >>out", program()), 0);
	ck_assert(S_ISLNK(look("l").st_mode));
	ck_assert_int_eq(shell("printf 'some\\nmore\\n' | cmp - out && rm out"),
			 0);
	ck_assert_int_eq(shell("'%s' -a a l >out", program()), 0);
	ck_assert(S_ISLNK(look("l").st_mode));
	ck_assert(is_equal("a", "out"));
}
END_TEST

/* --- tests: trees --- */

static void make_tree(void)
{
	const struct timespec times[2] = { { 1000000000, 123456789 },
					   { 1100000000, 987654321 } };

	ck_assert_int_eq(shell("mkdir -p a/empty a/d/e/f a/closed"), 0);
	make_random("a/one", 1000);
	make_random("a/d/two", 300000);
	make_random("a/closed/three", 3);
	ck_assert_int_eq(symlink("../nowhere", "a/d/dangling"), 0);
	ck_assert_int_eq(symlink("d", "a/to-d"), 0);
	ck_assert_int_eq(mkfifo("a/fifo", 0620), 0);
	ck_assert_int_eq(link("a/one", "a/d/e/again"), 0);
	ck_assert_int_eq(link("a/one", "a/d/e/f/third"), 0);
	ck_assert_int_eq(chmod("a/one", 04751), 0);
	ck_assert_int_eq(chmod("a/d", 02775), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "a/d/two", times, 0), 0);
	ck_assert_int_eq(
		utimensat(AT_FDCWD, "a/to-d", times, AT_SYMLINK_NOFOLLOW), 0);
	ck_assert_int_eq(chmod("a/closed", 0500), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "a/d", times, 0), 0);
}

/* Names, kinds, modes, owners, times and links of all that is below. */
static bool is_like(const char *a, const char *b)
{
	return shell("cd %s && find . -printf '%%p %%y %%m %%U %%G %%T@ %%l %%n "
		     "%%s\\n' | grep -v '^[^ ]* d .* [0-9]*$' | sort >../1; "
		     "find . -type d -printf '%%p %%m %%U %%G %%T@\\n' | sort "
		     ">>../1; cd ../%s && find . -printf '%%p %%y %%m %%U %%G "
		     "%%T@ %%l %%n %%s\\n' | grep -v '^[^ ]* d .* [0-9]*$' | "
		     "sort >../2; find . -type d -printf '%%p %%m %%U %%G "
		     "%%T@\\n' | sort >>../2; cd .. && diff 1 2",
		     a, b) == 0;
}

START_TEST(an_archive_has_all)
{
	make_tree();
	SUCCEEDS("-a", "a", "b");
	ck_assert(is_like("a", "b"));
	ck_assert(is_equal("a/d/two", "b/d/two"));
	ck_assert_uint_eq(look("b/one").st_ino, look("b/d/e/again").st_ino);
	ck_assert_uint_eq(look("b/one").st_ino, look("b/d/e/f/third").st_ino);
	/* Once more over itself, and into a folder. Only root can write to what is
	 * closed. */
	ck_assert_int_eq(chmod("b/closed", 0700), 0);
	SUCCEEDS("-aT", "a", "b");
	ck_assert(is_like("a", "b"));
	SUCCEEDS("-a", "--verify", "--sync", "a/", "b");
	ck_assert_int_eq(shell("mv b/a c"), 0);
	ck_assert(is_like("a", "c"));
	nothing_is_left("b");
}
END_TEST

/* Without -a modes are cut by the mask, and names are files of their own. */
START_TEST(recursive_copies_are_new)
{
	make_tree();
	ck_assert_int_eq(chmod("a/d/two", 0666), 0);
	SUCCEEDS("-r", "a", "b");
	ck_assert_int_eq(look("b/d/two").st_mode & 07777, 0644);
	ck_assert_int_eq(look("b/one").st_mode & 07777, 0751);
	ck_assert_int_eq(look("b/closed").st_mode & 07777, 0500);
	ck_assert_uint_eq(look("b/one").st_nlink, 1);
	ck_assert(S_ISLNK(look("b/d/dangling").st_mode));
	ck_assert(S_ISFIFO(look("b/fifo").st_mode));
	ck_assert_int_gt(look("b/d/two").st_mtim.tv_sec, 1100000000);
}
END_TEST

/* Deeper than a path may be long, and with few descriptors. */
START_TEST(deep_trees)
{
	char name[201];
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), next;

	memset(name, 'n', 200);
	name[200] = '\0';
	ck_assert_int_eq(mkdirat(fd, "a", 0755), 0);
	next = openat(fd, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < DEPTH; i++) {
		close(fd);
		fd = next;
		ck_assert_int_eq(mkdirat(fd, name, 0755), 0);
		ck_assert_int_eq(mkdirat(fd, "beside", 0750), 0);
		next = openat(fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		ck_assert_int_eq(write(next, "x", 1), 1);
		close(next);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	close(fd);
	close(next);
	ck_assert_msg(CP_WITH(FEW_FILES, "-a", "a", "b") == 0, "%s", output);
	ck_assert_int_eq(
		shell("cd a && find . -printf '%%P %%m %%T@\\n' | sort "
		      ">../1; cd ../b && find . -printf '%%P %%m "
		      "%%T@\\n' | sort >../2; cmp ../1 ../2"),
		0);
	ck_assert_int_eq(shell("test $(find b -name file | wc -l) = %d", DEPTH),
			 0);
}
END_TEST

/* Many of all kinds, with few descriptors, threads and jobs and with many. */
START_TEST(wide_trees)
{
	static const char *const options[][2] = { { "-a", "-a" },
						  { "-j1", "-t1" },
						  { "-j1000", "--threads=7" },
						  { "--sync", "--verify" } };

	for (int i = 0; i < N_MANY; i++) {
		char name[64], other[64];

		snprintf(name, sizeof name, "a/%d", i % 40);
		mkdir("a", 0755);
		mkdir(name, 0755);
		snprintf(name, sizeof name, "a/%d/%d", i % 40, i);
		make_random(name, (size_t)i * 7);
		snprintf(other, sizeof other, "a/%d/%d-again", (i + 1) % 40, i);
		mkdir("a/39", 0755);
		if (i > 40)
			ck_assert_int_eq(link(name, other), 0);
	}
	ck_assert_int_eq(CP_WITH(_i % 2 ? FEW_FILES : 0, "-a",
				 options[_i / 2][0], options[_i / 2][1], "a",
				 "b"),
			 0);
	ck_assert_msg(!output[0], "%s", output);
	ck_assert(is_like("a", "b"));
	ck_assert_int_eq(shell("diff -r a b"), 0);
}
END_TEST

START_TEST(attributes_are_copied)
{
	/* an ACL: rwx for the owner, r for a user, no more */
	static const unsigned char acl[] = {
		2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  4,
		0, 1, 0,   0,   0,   4,   0,  0, 0,   255, 255, 255, 255, 16, 0,
		4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255
	};
	char value[5000], back[5001];

	make_random("a", 10);
	memset(value, 'v', sizeof value);
	if (setxattr("a", "user.small", "v", 1, 0)) {
		skip("no extended attributes: %s", strerror(errno));
		return;
	}
	/* not every file system has room for it */
	setxattr("a", "user.large", value, 3000, 0);
	setxattr("a", "system.posix_acl_access", acl, sizeof acl, 0);
	SUCCEEDS("-a", "a", "b");
	ck_assert_int_eq(getxattr("b", "user.small", back, sizeof back), 1);
	ck_assert_int_eq(getxattr("b", "user.large", back, sizeof back),
			 getxattr("a", "user.large", value, sizeof value));
	ck_assert_int_eq(
		getxattr("b", "system.posix_acl_access", back, sizeof back),
		getxattr("a", "system.posix_acl_access", value, sizeof value));
	ck_assert_int_eq(look("a").st_mode, look("b").st_mode);
	SUCCEEDS("a", "c");
	ck_assert_int_eq(getxattr("c", "user.small", back, sizeof back), -1);
}
END_TEST

/* What a folder gives to new files is not in the source, and so not in the copy. */
START_TEST(default_acls_are_not_inherited)
{
	static const unsigned char acl[] = {
		2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  7,
		0, 1, 0,   0,   0,   4,   0,  7, 0,   255, 255, 255, 255, 16, 0,
		7, 0, 255, 255, 255, 255, 32, 0, 7,   0,   255, 255, 255, 255
	};
	char value[256];

	make_tree();
	ck_assert_int_eq(mkdir("b", 0755), 0);
	if (setxattr("b", "system.posix_acl_default", acl, sizeof acl, 0)) {
		skip("no ACLs: %s", strerror(errno));
		return;
	}
	SUCCEEDS("-a", "a", "b");
	ck_assert_int_eq(shell("mv b/a c"), 0);
	ck_assert(is_like("a", "c"));
	ck_assert_int_eq(getxattr("c/d/two", "system.posix_acl_access", value,
				  sizeof value),
			 -1);
	ck_assert_int_eq(getxattr("c/d", "system.posix_acl_default", value,
				  sizeof value),
			 -1);
}
END_TEST

/* Single ones are followed, those in trees are not. */
START_TEST(symbolic_links)
{
	make_random("a", 10);
	ck_assert_int_eq(symlink("a", "l"), 0);
	ck_assert_int_eq(symlink("elsewhere", "b"), 0);
	SUCCEEDS("l", "b");
	ck_assert(S_ISREG(look("b").st_mode) && !exists("elsewhere"));
	SUCCEEDS("-a", "l", "c");
	ck_assert(S_ISLNK(look("c").st_mode));
	SUCCEEDS("-a", "l", "b");
	ck_assert(S_ISLNK(look("b").st_mode));
}
END_TEST

/* Its first extent is also another file's. */
static bool shares_blocks(const char *name)
{
	struct fiemap *map = calloc(1, sizeof *map + sizeof map->fm_extents[0]);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	bool is_shared;

	*map = (struct fiemap){ .fm_length = ~0ull,
				.fm_flags = FIEMAP_FLAG_SYNC,
				.fm_extent_count = 1 };
	is_shared = ioctl(fd, FS_IOC_FIEMAP, map) == 0 &&
		    map->fm_mapped_extents == 1 &&
		    map->fm_extents[0].fe_flags & FIEMAP_EXTENT_SHARED;
	close(fd);
	free(map);
	return is_shared;
}

/* Where the file system can, a copy has the blocks of its source. */
START_TEST(blocks_are_shared)
{
	ck_assert_int_eq(mkdir("disk", 0755), 0);
	if (!can_mount())
		return;
	if (shell("(truncate -s 130M image && mkfs.btrfs -q image && "
		  "mount -o loop image disk) >/dev/null 2>&1") != 0) {
		skip("no btrfs can be made and mounted");
		return;
	}
	make_random("disk/a", 5 * MIB + 1);
	ck_assert(!shares_blocks("disk/a"));
	SUCCEEDS("--verify", "disk/a", "disk/b");
	ck_assert(shares_blocks("disk/b"));
	ck_assert(is_equal("disk/a", "disk/b"));
	/* between it and another one they are copied */
	SUCCEEDS("--verify", "disk/a", "c");
	SUCCEEDS("--verify", "c", "disk/d");
	ck_assert(is_equal("c", "disk/d"));
	ck_assert(!shares_blocks("disk/d"));
	umount("disk");
}
END_TEST

/* --- tests: what is left out --- */

/* With -n whatever has the name stays, and the rest is copied. */
START_TEST(targets_are_kept)
{
	ck_assert_int_eq(shell("mkdir -p a/d b/d b/was-file && cd a && "
			       "echo new | tee file 1 2 d/file was-file "
			       ">was-link && mkfifo fifo was-fifo && "
			       "ln 1 3 && ln 2 4 && ln -s file link && cd ../b "
			       "&& echo old | tee file 1 >d/file && "
			       "echo old >link && echo old >fifo && "
			       "ln -s nowhere was-link && ln file was-fifo"),
			 0);
	SUCCEEDS("-anT", "a", "b");
	ck_assert_int_eq(
		shell("cd b && for f in file 1 d/file link fifo "
		      "was-fifo; do test \"$(cat $f)\" = old || exit 1; "
		      "done; for f in 2 3 4; do "
		      "test \"$(cat $f)\" = new || exit 1; done; "
		      "test -d was-file && test -L was-link && "
		      "test ! -e nowhere"),
		0);
	ck_assert_uint_eq(look("b/2").st_ino, look("b/4").st_ino);
	SUCCEEDS("-n", "a/file", "b/file");
	SUCCEEDS("-n", "a/file", "b/new");
	ck_assert(is_equal("a/file", "b/new"));
	nothing_is_left("b");
}
END_TEST

/* Which symbolic links are followed: without a word, and with -L, -H and -P. */
START_TEST(symbolic_links_are_followed)
{
	ck_assert_int_eq(shell("mkdir -p t/d && echo x >t/d/file && "
			       "ln -s d/file t/one && ln -s d t/two && "
			       "ln -s t l && ln -s t/d/file f"),
			 0);
	SUCCEEDS("-r", "l", "1");
	ck_assert(S_ISLNK(look("1").st_mode));
	SUCCEEDS("-rH", "l", "2");
	ck_assert(S_ISDIR(look("2").st_mode));
	ck_assert(S_ISLNK(look("2/one").st_mode));
	SUCCEEDS("-rL", "l", "3");
	ck_assert(S_ISREG(look("3/one").st_mode));
	ck_assert(is_equal("3/two/file", "t/d/file"));
	SUCCEEDS("-aL", "l", "4");
	ck_assert(S_ISDIR(look("4/two").st_mode));
	SUCCEEDS("f", "5");
	ck_assert(S_ISREG(look("5").st_mode));
	SUCCEEDS("-P", "f", "6");
	ck_assert(S_ISLNK(look("6").st_mode));
	nothing_is_left(".");
}
END_TEST

/* With -L a link may lead nowhere, or up. That is told, and the rest is copied. */
START_TEST(symbolic_links_lead_astray)
{
	ck_assert_int_eq(shell("mkdir -p t/d/e && echo x >t/d/file && "
			       "ln -s ../.. t/d/e/up && ln -s gone t/no && "
			       "ln -s . t/self"),
			 0);
	ck_assert_int_eq(CP("-rL", "t", "b"), 1);
	says("'t/d/e/up'");
	says("'t/self'");
	says("it lies in itself");
	says("'t/no': No such file");
	ck_assert(is_equal("t/d/file", "b/d/file"));
}
END_TEST

/* With -x a mounted file system is an empty folder, unless it is a source. */
START_TEST(mounts_are_left_out)
{
	ck_assert_int_eq(shell("mkdir -p a/d/mount && echo x >a/d/file"), 0);
	if (!can_mount())
		return;
	ck_assert_int_eq(mount("none", "a/d/mount", "tmpfs", 0, "size=1m"), 0);
	ck_assert_int_eq(shell("mkdir a/d/mount/e && echo y >a/d/mount/e/file"),
			 0);
	SUCCEEDS("-ax", "a", "b");
	ck_assert(is_equal("a/d/file", "b/d/file"));
	ck_assert(exists("b/d/mount") && !exists("b/d/mount/e"));
	SUCCEEDS("-ax", "a/d/mount", "c");
	ck_assert(is_equal("a/d/mount/e/file", "c/e/file"));
	SUCCEEDS("-a", "a", "d");
	ck_assert(is_equal("a/d/mount/e/file", "d/d/mount/e/file"));
	umount("a/d/mount");
}
END_TEST

/* --- tests: the line on a terminal --- */

/* Runs it with a terminal as standard error. */
static pid_t launch_on(int terminal, const char *const *argv)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(terminal, STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(terminal);
	return pid;
}

/* Reads what it says until @what is there; NULL: to the end. */
static void read_until(int fd, size_t *n, const char *what)
{
	while (!what || !strstr(output, what)) {
		ssize_t more = read(fd, output + *n, sizeof output - 1 - *n);

		/* EIO: nobody has the terminal any more */
		ck_assert_msg(more > 0 || (!what && errno == EIO),
			      "%zd after: %s", more, output);
		if (more <= 0)
			return;
		*n += (size_t)more;
		output[*n] = '\0';
	}
}

/* It tells how far it is, an error stands on a line of its own, and at the end there is
 * nothing more of it. The FIFO holds the copy up. */
START_TEST(a_terminal_shows_progress)
{
	const char *const argv[] = { program(), "a", "fifo",
				     "nothing", "b", NULL };
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), fd, status;
	const char *end;
	size_t n = 0;
	pid_t pid;

	ck_assert_int_eq(grantpt(terminal), 0);
	ck_assert_int_eq(unlockpt(terminal), 0);
	make_random("a", 3 * MIB);
	ck_assert_int_eq(mkdir("b", 0755), 0);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	pid = launch_on(open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC),
			argv);
	fd = open("fifo", O_WRONLY | O_CLOEXEC);
	read_until(terminal, &n,
		   "1 files, 3.0 MiB of 3.0 MiB, 100 %, 0:00 left, ");
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	read_until(terminal, &n, NULL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WEXITSTATUS(status), 1);
	says("'nothing': No such file or directory\r\n");
	/* the error, or the line that is wiped out */
	end = output + n - 3;
	ck_assert_msg(output[n - 1] == '\n' || strcmp(end, "\033[K") == 0, "%s",
		      output);
	ck_assert_int_eq(look("b/fifo").st_size, 1);
	close(terminal);
}
END_TEST

/* --- tests: signals --- */

START_TEST(nothing_is_copied_onto_itself)
{
	make_tree();
	ck_assert_int_eq(CP("a/one", "a/d/e/again"), 1);
	says("itself: 'a/one'");
	ck_assert_int_eq(symlink("a/one", "l"), 0);
	ck_assert_int_eq(CP("a/one", "l"), 1);
	ck_assert_int_eq(look("a/one").st_size, 1000);
	ck_assert_int_eq(CP("-a", "a", "a/d"), 1);
	says("into itself: 'a'");
	ck_assert_int_eq(CP("-a", "a", "a"), 1);
	ck_assert_int_eq(CP("-a", ".", "a/d"), 1);
	ck_assert_int_eq(CP("-a", "a", "a/to-d/new"), 1);
	ck_assert(!exists("a/d/a") && !exists("a/d/new"));
	ck_assert_int_eq(CP("-aT", "a", "a"), 1);
	ck_assert_int_eq(CP("-a", "a", "."), 1);
	SUCCEEDS("-a", "a/d", "new");
	/* what is no file, and another name of it */
	ck_assert_int_eq(link("a/fifo", "fifo"), 0);
	ck_assert_int_eq(CP("-a", "a/fifo", "fifo"), 1);
	says("itself: 'a/fifo'");
	ck_assert_int_eq(CP("-a", "fifo", "."), 1);
	ck_assert_uint_eq(look("fifo").st_nlink, 2);
	ck_assert_int_eq(CP("-a", "l", "l"), 1);
	says("itself: 'l'");
}
END_TEST

/* Nor is a source replaced by a link to the copy of another name of it. */
START_TEST(sources_are_not_linked_over)
{
	ino_t was;

	ck_assert_int_eq(shell("mkdir a b; echo some >a/one; ln a/one b/two"),
			 0);
	was = look("b/two").st_ino;
	ck_assert_int_eq(CP("-a", "a/one", "b/two", "b"), 1);
	says("itself: 'b/two'");
	ck_assert(look("b/two").st_ino == was && look("a/one").st_ino == was);
	ck_assert(is_equal("a/one", "b/one"));
}
END_TEST

/* A user's attribute of 6,000 bytes is more than some file systems have room for. */
START_TEST(contents_without_attributes)
{
	static char value[6000];
	char source[] = "/dev/shm/weft-cp-XXXXXX";
	int fd = mkstemp(source), rc;

	if (fd < 0 || fsetxattr(fd, "user.large", value, sizeof value, 0)) {
		skip("no large attributes in /dev/shm: %s", strerror(errno));
		unlink(source);
		return;
	}
	ck_assert_int_eq(write(fd, "some", 4), 4);
	close(fd);
	rc = CP("-a", source, "b");
	ck_assert(is_equal(source, "b"));
	unlink(source);
	if (rc)
		says("cannot set the attributes of 'b'");
	ck_assert(rc == 0 || rc == 1);
}
END_TEST

/* As long as it has not the source's group, the group has no rights. */
static void is_closed_to_others(const char *name)
{
	struct stat st;

	if (stat(name, &st) == 0 && st.st_gid != NOBODY)
		ck_assert_msg((st.st_mode & 077) == 0, "%s: %o", name,
			      (unsigned)st.st_mode);
}

/* A copy under way lets nobody in whom the source keeps out. */
START_TEST(nobody_is_let_in_meanwhile)
{
	const char *const arguments[] = { "-a", "-j1", "a", "b", NULL };
	struct program p;
	int status;

	if (getuid()) {
		skip("only root can give files away");
		return;
	}
	ck_assert_int_eq(mkdir("a", 0755), 0);
	make_random("a/one", 16 * MIB);
	ck_assert_int_eq(
		shell("chmod 640 a/one; chown -R :%d a; chmod 770 a", NOBODY),
		0);
	p = launch(arguments, 0);
	while (waitpid(p.pid, &status, WNOHANG) == 0) {
		char file[64];

		is_closed_to_others("b");
		snprintf(file, sizeof file, "b/.weft-cp-%d-0", p.pid);
		is_closed_to_others(file);
	}
	ck_assert_int_eq(status, 0);
	fclose(p.output);
	ck_assert_uint_eq(look("b").st_mode & 07777, 0770);
	ck_assert_uint_eq(look("b/one").st_mode & 07777, 0640);
	ck_assert_uint_eq(look("b/one").st_gid, NOBODY);
}
END_TEST

/* Only who has a sticky folder's files may remove them, also from the copy. */
START_TEST(sticky_folders)
{
	ck_assert_int_eq(mkdir("a", 0755), 0);
	ck_assert_int_eq(chmod("a", 01777), 0);
	ck_assert_int_eq(shell("umask 0; '%s' -r a b", program()), 0);
	ck_assert_uint_eq(look("b").st_mode & 07777, 01777);
	SUCCEEDS("-a", "a", "c");
	ck_assert_uint_eq(look("c").st_mode & 07777, 01777);
}
END_TEST

/* What has been copied is not lost to the next source. */
START_TEST(names_are_given_once)
{
	make_tree();
	ck_assert_int_eq(shell("mkdir b c; echo 1 >b/one; echo 2 >b/fifo"), 0);
	ck_assert_int_eq(CP("-a", "a/one", "b/one", "a/fifo", "b/fifo", "c"),
			 1);
	says("another source has this name: 'b/one'");
	says("another source has this name: 'b/fifo'");
	ck_assert(is_equal("a/one", "c/one"));
	ck_assert(S_ISFIFO(look("c/fifo").st_mode));
	/* the same one is, however it is named, and folders are merged */
	SUCCEEDS("a/one", "a/./one", "c");
	SUCCEEDS("-a", "b/.", "a/d/.", "c");
	ck_assert(is_equal("a/d/two", "c/two") && is_equal("b/one", "c/one"));
}
END_TEST

/* Names are told without what a terminal could obey. */
START_TEST(names_are_printable)
{
	ck_assert_int_eq(CP("a\033[31m\nb\177", "b"), 1);
	says("'a\\x1b[31m\\x0ab\\x7f'");
}
END_TEST

/* What cannot be read is named, and the others are copied. */
START_TEST(the_rest_goes_on)
{
	make_tree();
	ck_assert_int_eq(mkdir("b", 0755), 0);
	ck_assert_int_eq(CP("-r", "a/nothing", "a/one", "a/d", "b"), 1);
	says("'a/nothing': No such file");
	ck_assert(is_equal("a/one", "b/one"));
	ck_assert(is_equal("a/d/two", "b/d/two"));
	ck_assert_int_eq(CP("a/d", "a/one", "b"), 1);
	says("--recursive is needed: 'a/d'");
	/* kinds that do not replace each other */
	ck_assert_int_eq(shell("mkdir -p c/one; touch c/d"), 0);
	ck_assert_int_eq(CP("-r", "a/one", "a/d", "a/to-d", "c"), 1);
	says("'c/one': Is a directory");
	says("'c/d': Not a directory");
	ck_assert(exists("c/to-d"));
	nothing_is_left(".");
}
END_TEST

/* As a user who may not read everything. */
START_TEST(permissions_are_obeyed)
{
	bool has_attribute;
	char value[8];
	int status;
	pid_t pid;

	make_tree();
	has_attribute = setxattr("a/d/two", "user.a", "v", 1, 0) == 0;
	ck_assert_int_eq(chmod("a/d/two", 0444), 0);
	make_random("a/d/secret", 10);
	ck_assert_int_eq(chmod("a/d/secret", getuid() ? 0 : 0600), 0);
	ck_assert_int_eq(mkdir("a/shut", getuid() ? 0 : 0700), 0);
	ck_assert_int_eq(chmod("a/one", 06755), 0);
	ck_assert_int_eq(chmod("a/closed", 0555), 0);
	ck_assert_int_eq(mkdir("b", 0777), 0);
	ck_assert(chmod("b", 0777) == 0 && chmod(".", 0755) == 0);
	/* copies of it and of the library, since the user may not reach the build
	 * folder */
	ck_assert_int_eq(
		shell("p='%s'; d=${p%%/*}; if test -f \"$d/.libs/weft-cp\"; then "
		      "cp -L \"$d\"/../lib/.libs/libweft.so* .; "
		      "p=$d/.libs/weft-cp; fi; cp \"$p\" cp && "
		      "chmod 755 cp *.so* 2>/dev/null; test -f cp",
		      program()),
		0);
	pid = fork();
	if (pid == 0) {
		int fd = open("said", O_CREAT | O_WRONLY, 0644);

		dup2(fd, STDERR_FILENO);
		setenv("LD_LIBRARY_PATH", ".", 1);
		if (getuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
			_exit(99);
		execl("./cp", "weft-cp", "-a", "a", "b", NULL);
		_exit(98);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WEXITSTATUS(status), 1);
	{
		FILE *f = fopen("said", "r");

		output[fread(output, 1, sizeof output - 1, f)] = '\0';
		fclose(f);
	}
	says("'a/d/secret': Permission denied");
	says("'a/shut': Permission denied");
	ck_assert(!exists("b/a/d/secret"));
	ck_assert(is_equal("a/d/two", "b/a/d/two"));
	ck_assert_int_eq(look("b/a/d/two").st_mtim.tv_sec, 1100000000);
	/* set before the file is closed to its owner */
	ck_assert_int_eq(look("b/a/d/two").st_mode & 07777, 0444);
	if (has_attribute)
		ck_assert_int_eq(
			getxattr("b/a/d/two", "user.a", value, sizeof value),
			1);
	ck_assert_int_eq(look("b/a/closed").st_mode & 07777, 0555);
	/* not with the rights of another one */
	if (getuid() == 0) {
		ck_assert_uint_eq(look("b/a/one").st_uid, NOBODY);
		ck_assert_int_eq(look("b/a/one").st_mode & 07777, 0755);
	}
	nothing_is_left("b");
}
END_TEST

/* A small file system: what fits is there, what does not is named, nothing is half. */
START_TEST(a_full_disk)
{
	static const char options[] = "size=2m";
	bool has_error;

	ck_assert_int_eq(mkdir("small", 0755), 0);
	if (!can_mount())
		return;
	ck_assert_int_eq(mount("none", "small", "tmpfs", 0, options), 0);
	ck_assert_int_eq(mkdir("a", 0755), 0);
	make_random("a/1", 100000);
	make_random("a/2", 3 * MIB);
	make_random("a/3", 20 * MIB);
	make_random("a/4", 1000);
	ck_assert_int_eq(CP("-a", "a", "small"), 1);
	says(strerror(ENOSPC));
	has_error = strstr(output, "small/a/2") && strstr(output, "small/a/3");
	ck_assert_msg(has_error, "%s", output);
	ck_assert(!exists("small/a/2") && !exists("small/a/3"));
	nothing_is_left("small");
	/* there is room again */
	SUCCEEDS("a/1", "a/4", "small");
	ck_assert(is_equal("a/1", "small/1"));
	umount("small");
}
END_TEST

/* Larger than a file may be: nothing is half, and the others are copied. */
START_TEST(a_file_that_is_too_large)
{
	const char *const arguments[] = { "-a", "a", "b", NULL };
	struct rlimit limit, small = { .rlim_cur = 200000 };
	struct program p;

	ck_assert_int_eq(mkdir("a", 0755), 0);
	make_random("a/1", 1000);
	make_random("a/2", 300000);
	make_random("a/3", 150000);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small.rlim_max = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	p = launch(arguments, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 1);
	says("write 'b/2': File too large");
	ck_assert(is_equal("a/1", "b/1") && is_equal("a/3", "b/3"));
	nothing_is_left("b");
}
END_TEST

/* A pipe that nobody reads any more is an error, too. */
START_TEST(a_reader_that_goes)
{
	make_random("a", 2 * MIB);
	ck_assert_int_eq(
		shell("('%s' a /dev/fd/1 2>said; echo $? >>said) | true",
		      program()),
		0);
	ck_assert_int_eq(shell("grep -q 'write .*: Broken pipe' said && "
			       "grep -q '^1$' said"),
			 0);
}
END_TEST

/* Names of one file, to where they cannot be: they are files of their own. */
START_TEST(links_that_cannot_be)
{
	ck_assert_int_eq(shell("mkdir -p a/1 a/2 b/1 b/2"), 0);
	if (unshare(CLONE_NEWNS) ||
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "b/2", "tmpfs", 0, "size=2m")) {
		skip("no mount: %s", strerror(errno));
		return;
	}
	make_random("a/1/a", 1000);
	ck_assert_int_eq(mkfifo("a/1/fifo", 0600), 0);
	ck_assert_int_eq(shell("cd a; for i in 1 2; do ln 1/a $i/b; "
			       "ln 1/fifo $i/fifo2; done"),
			 0);
	SUCCEEDS("-aT", "a", "b");
	ck_assert(is_equal("a/1/a", "b/2/b") && is_equal("a/1/a", "b/1/b"));
	ck_assert(S_ISFIFO(look("b/2/fifo2").st_mode));
	nothing_is_left("b");
	umount("b/2");
}
END_TEST

/* --- tests: signals --- */

/* Waits until a temporary name is there. */
static void until_it_writes(const char *where)
{
	while (shell("test -n \"$(find %s -name '.weft-cp*' 2>/dev/null)\"",
		     where) != 0)
		usleep(1000);
}

/* The FIFO never ends, so the copy is surely under way. */
START_TEST(interruption_leaves_no_half_file)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	const char *const arguments[] = { "fifo", "b", NULL };
	struct program p;
	int fd, status;

	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	make_random("b", 5);
	p = launch(arguments, 0);
	fd = open("fifo", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "half", 4), 4);
	until_it_writes(".");
	ck_assert_int_eq(kill(p.pid, numbers[_i]), 0);
	ck_assert_int_eq(waitpid(p.pid, &status, 0), p.pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == numbers[_i]);
	ck_assert_int_eq(look("b").st_size, 5);
	nothing_is_left(".");
	fclose(p.output);
	close(fd);
}
END_TEST

/* Nobody is at the other end, or nobody takes what is written. */
START_TEST(interruption_ends_a_wait)
{
	static const char *const arguments[][3] = { { "fifo", "b", NULL },
						    { "a", "fifo", NULL },
						    { "a", "full", NULL } };
	struct program p;
	int full, status;

	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	ck_assert_int_eq(mkfifo("full", 0600), 0);
	full = open("full", O_RDWR | O_CLOEXEC);
	make_random("a", MIB);
	p = launch(arguments[_i], 0);
	usleep(100000); /* so that it waits, most likely */
	ck_assert_int_eq(kill(p.pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(p.pid, &status, 0), p.pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	output[fread(output, 1, sizeof output - 1, p.output)] = '\0';
	ck_assert_ptr_null(strstr(output, "cannot"));
	ck_assert(!exists("b"));
	nothing_is_left(".");
	fclose(p.output);
	close(full);
}
END_TEST

/* As by nohup: what is ignored when it starts does not end it. */
START_TEST(an_ignored_signal_is_none)
{
	const char *const arguments[] = { "fifo", "b", NULL };
	struct program p;
	int fd;

	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	signal(SIGHUP, SIG_IGN);
	p = launch(arguments, 0);
	fd = open("fifo", O_WRONLY | O_CLOEXEC);
	until_it_writes(".");
	ck_assert_int_eq(kill(p.pid, SIGHUP), 0);
	ck_assert_int_eq(write(fd, "whole", 5), 5);
	close(fd);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 0);
	ck_assert_int_eq(look("b").st_size, 5);
}
END_TEST

/* Somewhere in a tree: what has its name is whole. */
START_TEST(interrupted_trees_are_whole)
{
	const char *const arguments[] = { "-a", "a", "b", NULL };
	struct program p;
	int status;

	ck_assert_int_eq(mkdir("a", 0755), 0);
	for (int i = 0; i < N_MANY; i++) {
		char name[32];

		snprintf(name, sizeof name, "a/%d", i);
		make_random(name, 70000);
	}
	p = launch(arguments, 0);
	while (!exists("b/1") && waitpid(p.pid, &status, WNOHANG) == 0)
		usleep(100);
	kill(p.pid, SIGTERM);
	waitpid(p.pid, &status, 0);
	ck_assert_int_eq(
		shell("cd b && for f in *; do cmp $f ../a/$f || exit 1; "
		      "done"),
		0);
	nothing_is_left("b");
	fclose(p.output);
}
END_TEST

/* --- tests: the command line --- */

static const struct mistake mistakes[] = {
	{ { "a" }, 64, { "a source and a target" } },
	{ { "--jobs=0", "a", "b" }, 64, { "1 to 1024" } },
	{ { "--threads=x", "a", "b" }, 64, { "1 to 64" } },
	{ { "--nonsense", "a", "b" }, 64, { "--help" } },
	{ { "a", "b", "c" }, 1, { "'c': Not a directory" } },
	{ { "a", "b/" }, 1, { "'b/': Not a directory" } },
	{ { "a/", "b" }, 1, { "'a/': Not a directory" } },
	{ { "no/", "b" }, 1, { "'no/': No such file" } },
	{ { "a", "no/b" }, 1, { "'no': No such file" } },
	{ { "", "b" }, 1, { "No such file" } },
	{ { "a", "" }, 1, { "No such file" } },
};

START_TEST(mistakes_are_named)
{
	make_random("a", 10);
	program_refuses("WEFT_CP", NULL, &mistakes[_i]);
}
END_TEST

START_TEST(lost_output_is_told)
{
	program_tells_of_lost_output("WEFT_CP", NULL);
}
END_TEST

/* This file is another one each time that it is read. */
START_TEST(a_changing_file_is_not_verified)
{
	static const char changing[] = "/proc/sys/kernel/random/uuid";

	if (access(changing, R_OK)) {
		skip("there is no %s", changing);
		return;
	}
	SUCCEEDS(changing, "a");
	ck_assert_int_eq(CP("--verify", changing, "b"), 1);
	says("cannot verify, it differs from its source: 'b'\n");
	ck_assert_int_eq(access("b", F_OK), -1);
}
END_TEST

static void add(Suite *suite, const char *rule, const TTest *test, size_t n)
{
	TCase *tc = add_case(suite, rule, NULL);

	tcase_add_checked_fixture(tc, make_root, remove_root);
	tcase_add_loop_test(tc, test, 0, (int)n);
}

int main(void)
{
	Suite *s = suite_create("weft-cp");

	/* The tests have working folders of their own. */
	if (!getenv("WEFT_CP"))
		setenv("WEFT_CP", "tools/weft-cp", 1);
	if (!program()) {
		perror("weft-cp");
		return EXIT_FAILURE;
	}
	setenv("WEFT_CP", program(), 1);
	add(s, "mistakes", mistakes_are_named, N_ELEMENTS(mistakes));
	add(s, "a full output", lost_output_is_told, 1);
	add(s, "sizes", files_of_all_sizes, N_ELEMENTS(sizes));
	add(s, "holes", holes_are_kept, 1);
	add(s, "file systems", across_file_systems, 1);
	add(s, "/proc", files_of_proc, 1);
	add(s, "a changing file", a_changing_file_is_not_verified, 1);
	add(s, "a FIFO", a_fifo_is_read, 1);
	add(s, "a device", a_device_stays_one, 1);
	add(s, "a link of proc", a_link_of_proc_stays_one, 1);
	add(s, "archives", an_archive_has_all, 1);
	add(s, "new copies", recursive_copies_are_new, 1);
	add(s, "deep trees", deep_trees, 1);
	add(s, "wide trees", wide_trees, 8);
	add(s, "attributes", attributes_are_copied, 1);
	add(s, "default ACLs", default_acls_are_not_inherited, 1);
	add(s, "symbolic links", symbolic_links, 1);
	add(s, "itself", nothing_is_copied_onto_itself, 1);
	add(s, "other names", sources_are_not_linked_over, 1);
	add(s, "no attributes", contents_without_attributes, 1);
	add(s, "rights", nobody_is_let_in_meanwhile, 1);
	add(s, "sticky folders", sticky_folders, 1);
	add(s, "names once", names_are_given_once, 1);
	add(s, "printable names", names_are_printable, 1);
	add(s, "the rest", the_rest_goes_on, 1);
	add(s, "permissions", permissions_are_obeyed, 1);
	add(s, "a full disk", a_full_disk, 1);
	add(s, "large files", a_file_that_is_too_large, 1);
	add(s, "a pipe", a_reader_that_goes, 1);
	add(s, "no links", links_that_cannot_be, 1);
	add(s, "shared blocks", blocks_are_shared, 1);
	add(s, "kept targets", targets_are_kept, 1);
	add(s, "followed links", symbolic_links_are_followed, 1);
	add(s, "links that lead astray", symbolic_links_lead_astray, 1);
	add(s, "mounts", mounts_are_left_out, 1);
	add(s, "a terminal", a_terminal_shows_progress, 1);
	add(s, "signals", interruption_leaves_no_half_file, 3);
	add(s, "signals that are ignored", an_ignored_signal_is_none, 1);
	add(s, "signals while it waits", interruption_ends_a_wait, 3);
	add(s, "signals in a tree", interrupted_trees_are_whole, 1);
	return run_suite(s);
}
