/* SPDX-License-Identifier: MIT */
/*
 * C++ exceptions and switches.
 *
 * The C++ runtime keeps two things for each thread. One is the stack of exceptions
 * that are being handled: `throw;` throws the topmost again. The other is the
 * number of exceptions in flight, for std::uncaught_exceptions(). Both belong to a
 * tasklet that is inside of a catch block, or inside of a destructor that an
 * exception has called:
 *
 *	a tasklet that switches leaves both empty: if it has some, it takes them
 *	aside, on its own stack, and puts them back when it returns
 *	(switch_with_exceptions());
 *	so the next tasklet finds both empty, a fresh one too;
 *	a tasklet that ends in the middle of a catch block, by weft_exit(), is done
 *	with what it was handling.
 *
 * A switch itself does not ask. A call that may switch by a fast path has asked
 * when it began, and nothing of the program's runs in between that would leave any.
 * A thread without C++ has its answer in weft__plain, where the call looks for its
 * scheduler anyway (core/scheduler.h). All other calls switch carefully.
 *
 * The library needs no C++ runtime, and so has to look for one. A weak symbol finds
 * it if the program has one when it starts, or if what brought the library has one.
 * Then the library searches the loaded objects, for a program in C that has loaded
 * C++ later: neither a weak symbol nor RTLD_DEFAULT knows of that. It reads the
 * objects itself, because dlopen() and dlsym() would wait for a thread that is
 * inside of dlopen(), which may be waiting for us; and they make a static program
 * complain.
 */
#include "stack/exception.h"

#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

typedef struct exceptions *(*getter)(void);

extern struct r_debug _r_debug __attribute__((weak));
struct exceptions *__cxa_get_globals(void) __attribute__((weak));
void __cxa_end_catch(void) __attribute__((weak));

static const char getter_name[] = "__cxa_get_globals";

static struct {
	_Atomic(getter) get; /* of a runtime that was loaded later */
	_Atomic(unsigned long long) n_loaded;    /* when last searched */
	_Atomic(const struct link_map *) linker; /* NULL: not known yet */
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
	/* The dynamic linker has turned these into addresses. */
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
 * The hash table is: the number of buckets, the index of the first symbol in it,
 * the number of words of a filter, a shift; the filter; the buckets, each the first
 * symbol of a chain or 0; and a hash for each symbol, whose lowest bit says that
 * its chain ends there.
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

/* Ends the search if it has found one, or if nothing was loaded since the last
 * search. */
static int look_at_object(struct dl_phdr_info *info, size_t size,
			  void *n_loaded)
{
	struct symbols symbols = { .table = NULL };
	const ElfW(Sym) * symbol;

	(void)size;
	*(unsigned long long *)n_loaded = info->dlpi_adds;
	/* relaxed, no pair: with an old number it is searched for in vain */
	if (info->dlpi_adds == peek(late.n_loaded))
		return 1;
	if (!is_runtime(info->dlpi_name) || !find_symbols(info, &symbols))
		return 0;
	symbol = look_up(&symbols, getter_name);
	if (!symbol)
		return 0;
	/* relaxed, no pair: everything behind it is the dynamic linker's, and was
	 * there before */
	poke(late.get, (getter)(info->dlpi_addr + symbol->st_value));
	return 1;
}

/* The dynamic linker's own object in the list of loaded objects. It is there from
 * the beginning, as are all objects before it; what is loaded later is behind it. A
 * static program has no list. */
static const struct link_map *find_linker(void)
{
	const struct link_map *m = &_r_debug ? _r_debug.r_map : NULL;

	while (m && m->l_addr != _r_debug.r_ldbase)
		m = m->l_next;
	return m;
}

bool weft__exceptions_may_have_come(void)
{
	/* relaxed, no pair: the dynamic linker writes it; a thread that has seen a
	 * library loaded also sees the link to it */
	const struct link_map *linker = peek(late.linker);

	return !linker || __atomic_load_n(&linker->l_next, __ATOMIC_RELAXED);
}

struct exceptions *weft__exceptions_find(void)
{
	unsigned long long n_loaded = 0;
	getter get = __cxa_get_globals;

	if (!get)
		get = peek(late.get);
	if (!get) {
		if (!peek(late.linker))
			poke(late.linker, find_linker());
		dl_iterate_phdr(look_at_object, &n_loaded);
		poke(late.n_loaded, n_loaded);
		get = peek(late.get);
	}
	return get ? get() : NULL;
}

void weft__exceptions_forget(struct exceptions *e)
{
	/* The ends of its catch blocks would have done the same. With one in flight
	 * it is not known which of the others are really being handled. */
	while (e->caught && !e->uncaught && __cxa_end_catch)
		__cxa_end_catch();
	e->caught = NULL;
	e->uncaught = 0;
}
