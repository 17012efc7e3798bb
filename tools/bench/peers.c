/* SPDX-License-Identifier: MIT */
/*
 * The others: what they are called, where their programs are, and a variant for
 * each thing that one does like weft.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../sibling.h"

/* Each has all fields, or the compiler warns. */
const struct peer_program peers[N_PEERS] = {
	[PEER_NONE] = { "weft", "#1f5fa8", NULL, NULL },
	[PEER_BOOST_CONTEXT] = { "boost.context", "#c9a227",
				 "weft-peer-boost-context",
				 "libboost-context-dev, g++" },
	[PEER_BOOST_FIBER] = { "boost.fiber", "#d9730d",
			       "weft-peer-boost-fiber",
			       "libboost-fiber-dev, g++" },
	[PEER_BOOST_ASIO] = { "boost.asio", "#e6b8a2", "weft-peer-boost-asio",
			      "libboost-dev, g++" },
	[PEER_GO] = { "go", "#3a9d5d", "weft-peer-go", "golang-go" },
	[PEER_PTHREAD] = { "pthread", "#8e5ea2", "weft-peer-pthread",
			   "libc6-dev" },
	[PEER_STACKLESS] = { "stackless", "#6fa8dc", "weft-peer-stackless",
			     "python3-dev, --with-python" },
	[PEER_GREENLET] = { "greenlet", "#7cb342", "weft-peer-greenlet",
			    "python3-dev, python3-greenlet, --with-python" },
	[PEER_ASYNCIO] = { "asyncio", "#c2185b", "weft-peer-asyncio",
			   "python3-dev, --with-python" },
	[PEER_THREADING] = { "threading", "#b39ddb", "weft-peer-threading",
			     "python3-dev, --with-python" },
	[PEER_NGINX] = { "nginx", "#4d8076", NULL, "nginx" },
	[PEER_BARE] = { "bare", "#8a8a8a", NULL, NULL },
};

static bool choose(bool chosen[N_PEERS], const char *name, size_t length)
{
	for (int i = PEER_NONE + 1; i < N_PEERS; i++)
		if (strlen(peers[i].name) == length &&
		    strncmp(peers[i].name, name, length) == 0)
			return chosen[i] = true;
	return false;
}

bool peers_choose(bool chosen[N_PEERS], const char *list, char wrong[32])
{
	for (int i = PEER_NONE + 1; i < N_PEERS; i++)
		chosen[i] = !list;
	while (list) {
		size_t length = strcspn(list, ",");

		if (!choose(chosen, list, length)) {
			snprintf(wrong, 32, "%.*s", (int)length, list);
			return false;
		}
		list = list[length] ? list + length + 1 : NULL;
	}
	return true;
}

bool peers_any(const struct options *o)
{
	bool any = false;

	for (int i = 0; i < N_PEERS; i++)
		any = any || o->peers[i];
	return any;
}

bool peer_find(enum peer peer, char *path, size_t size)
{
	return sibling_find("peers", peers[peer].program, path, size);
}

/* --- their variants --- */

struct variant variants[MAX_VARIANTS];
size_t n_variants;

static char names[MAX_VARIANTS][32];

static struct variant *append(const struct variant *v)
{
	if (n_variants == MAX_VARIANTS)
		abort();
	variants[n_variants] = *v;
	return &variants[n_variants++];
}

static void append_peer(const struct variant *ours, const struct compared *c)
{
	char *name = names[n_variants];
	struct variant *v = append(ours);

	snprintf(name, sizeof names[0], "%s-%s", peers[c->by].name, ours->name);
	v->name = c->as ? c->as : name;
	v->run = NULL;
	v->peer = c->by;
	v->task = c->task ? c->task : ours->task;
	v->flags |= VARIANT_PEER;
	v->doorbell = NULL;
	v->against = ours->name;
	v->about = c->about;
}

void variants_make(void)
{
	for (size_t i = 0; i < n_described; i++) {
		const struct variant *ours = append(&described[i]);
		const struct compared *c = ours->compared;

		for (int k = 0; k < MAX_COMPARED && c[k].by; k++)
			append_peer(ours, &c[k]);
	}
}

const struct variant *variant_named(const char *name)
{
	const char *slash = strchr(name, '/');
	size_t length = slash ? (size_t)(slash - name) : 0;

	for (size_t i = 0; slash && i < n_variants; i++) {
		const struct variant *v = &variants[i];

		if (strlen(v->workload) == length &&
		    strncmp(v->workload, name, length) == 0 &&
		    strcmp(v->name, slash + 1) == 0)
			return v;
	}
	return NULL;
}
