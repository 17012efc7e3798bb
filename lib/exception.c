/* SPDX-License-Identifier: MIT */
/*
 * Exceptions of C++ and switches.
 *
 * The C++ runtime keeps two things for each thread: the stack of exceptions that
 * are being handled, of which `throw;` throws the topmost again, and the number of
 * those in flight, for std::uncaught_exceptions(). Both belong to a tasklet that is
 * inside of a catch block, or of a destructor that an exception has called:
 *
 *	whoever switches leaves both empty, see weft__switch_to(): who has some
 *	takes them aside, on its own stack, and puts them back when it returns;
 *	so whoever comes finds them empty, a fresh tasklet too;
 *	who ends in the middle of a catch block, by weft_exit(), is done with what
 *	it was handling.
 *
 * The library needs no C++ runtime, and so has to look for one: by a weak symbol,
 * which is bound if the program has one when it starts, or what brought the library
 * has; then among the objects that are loaded, for a program in C that has loaded
 * C++ later, of which neither a weak symbol nor RTLD_DEFAULT knows. That looks into
 * the objects itself: dlopen() and dlsym() would wait for a thread that is inside
 * dlopen(), which may be waiting for us, and make a static program complain.
 */
#include "exception.h"

#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

typedef struct exceptions *(*getter)(void);

struct exceptions *__cxa_get_globals(void) __attribute__((weak));
void __cxa_end_catch(void) __attribute__((weak));

static const char getter_name[] = "__cxa_get_globals";

static struct {
	_Atomic(getter) get; /* of a runtime that was loaded later */
	_Atomic(unsigned long long) n_loaded; /* when last looked for */
} late;

/* --- in the objects that are loaded --- */

struct symbols {
	const ElfW(Sym) * table;
	const char *names;
	const uint32_t *hashes; /* DT_GNU_HASH */
};

static bool find_symbols(const struct dl_phdr_info *info, struct symbols *found)
{
	const ElfW(Dyn) *d = NULL;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			d = (const ElfW(Dyn) *)(info->dlpi_addr +
						info->dlpi_phdr[i].p_vaddr);
	/* The dynamic linker has made these addresses. */
	for (; d && d->d_tag != DT_NULL; d++) {
		const void *p = (const void *)d->d_un.d_ptr;

		if (d->d_tag == DT_SYMTAB)
			found->table = p;
		else if (d->d_tag == DT_STRTAB)
			found->names = p;
		else if (d->d_tag == DT_GNU_HASH)
			found->hashes = p;
	}
	return found->table && found->names && found->hashes;
}

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

/*
 * The table: how many buckets, the first symbol in it, the words of a filter, a
 * shift; the filter; the buckets, each the first symbol of a chain or 0; and a hash
 * for each symbol, whose lowest bit says that its chain ends there.
 */
static const ElfW(Sym) * look_up(const struct symbols *s, const char *name)
{
	uint32_t n_buckets = s->hashes[0], first = s->hashes[1];
	const uint32_t *buckets =
		s->hashes + 4 + s->hashes[2] * (sizeof(ElfW(Addr)) / 4);
	const uint32_t *chains = buckets + n_buckets;
	uint32_t hash = hash_of(name);
	uint32_t i = n_buckets ? buckets[hash % n_buckets] : 0;

	for (; i && i >= first; i++) {
		const ElfW(Sym) *symbol = &s->table[i];

		if ((chains[i - first] | 1) == (hash | 1) &&
		    symbol->st_shndx != SHN_UNDEF &&
		    !strcmp(s->names + symbol->st_name, name))
			return symbol;
		if (chains[i - first] & 1)
			break;
	}
	return NULL;
}

static bool is_runtime(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	return !strncmp(name, "libstdc++.so", 12) ||
	       !strncmp(name, "libc++abi.so", 12);
}

/* Ends the search when it has found one, or when nothing was loaded since the last
 * search. */
static int look_at_object(struct dl_phdr_info *info, size_t size,
			  void *n_loaded)
{
	struct symbols symbols = { .table = NULL };
	const ElfW(Sym) * symbol;

	(void)size;
	*(unsigned long long *)n_loaded = info->dlpi_adds;
	/* relaxed, no pair: an old number has it looked for in vain */
	if (info->dlpi_adds == peek(late.n_loaded))
		return 1;
	if (!is_runtime(info->dlpi_name) || !find_symbols(info, &symbols))
		return 0;
	symbol = look_up(&symbols, getter_name);
	if (!symbol)
		return 0;
	/* relaxed, no pair: all behind it is the dynamic linker's, and was there
	 * before */
	poke(late.get, (getter)(info->dlpi_addr + symbol->st_value));
	return 1;
}

struct exceptions *weft__exceptions_find(void)
{
	unsigned long long n_loaded = 0;
	getter get = __cxa_get_globals;

	if (!get)
		get = peek(late.get);
	if (!get) {
		dl_iterate_phdr(look_at_object, &n_loaded);
		poke(late.n_loaded, n_loaded);
		get = peek(late.get);
	}
	return get ? get() : NULL;
}

void weft__exceptions_forget(struct exceptions *e)
{
	/* As the ends of its catch blocks would have. With one in flight it is
	 * not known which are being handled in earnest. */
	while (e->caught && !e->uncaught && __cxa_end_catch)
		__cxa_end_catch();
	e->caught = NULL;
	e->uncaught = 0;
}
