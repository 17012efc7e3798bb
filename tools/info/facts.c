/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "info.h"

enum { MAX_FACTS = 256, LINE = 79, NAME = 24, INDENT = 6 };

struct fact {
	enum group group;
	const char *name;
	json_t *value;
	char why[400];
};

static const struct {
	const char *key, *title;
	/* Whether people see the names of what is there in a row. */
	bool is_row;
} groups[N_GROUPS] = {
	[GROUP_WEFT] = { "weft", "What weft uses here", false },
	[GROUP_ENVIRONMENT] = { "environment", "Environment variables", false },
	[GROUP_MACHINE] = { "machine", "This machine", false },
	[GROUP_URING] = { "io_uring", "io_uring", false },
	[GROUP_SET_UP] = { "set_up", "io_uring: set-up and messages", false },
	[GROUP_FEATURES] = { "features", "io_uring: features", true },
	[GROUP_OPERATIONS] = { "operations", "io_uring: operations", true },
};

static struct fact facts[MAX_FACTS];
static size_t n_facts;

void add_fact(enum group group, const char *name, json_t *value,
	      const char *why, ...)
{
	struct fact *f = &facts[n_facts++];
	va_list arguments;

	if (!value) {
		fputs("weft-info: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	f->group = group;
	f->name = name;
	f->value = value;
	if (!why)
		return;
	va_start(arguments, why);
	vsnprintf(f->why, sizeof f->why, why, arguments);
	va_end(arguments);
}

/* --- for people --- */

/* Prints @text word by word from @column on, with lines broken between words.
 * Returns the column it ends at. */
static int print_words(const char *text, int column, int indent)
{
	while (*text) {
		int length = (int)strcspn(text, " ");

		if (column > indent && column + 1 + length > LINE) {
			printf("\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			putchar(' ');
			column++;
		}
		column += printf("%.*s", length, text);
		text += length;
		text += strspn(text, " ");
	}
	return column;
}

static int print_value(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return printf("%s", json_string_value(value));
	case JSON_INTEGER:
		return printf("%" JSON_INTEGER_FORMAT,
			      json_integer_value(value));
	case JSON_NULL:
		return printf("none");
	default:
		return printf(json_is_true(value) ? "yes" : "no");
	}
}

static void print_fact(const struct fact *f)
{
	int column = printf("  %-*s", NAME - 2, f->name);

	column += print_value(f->value);
	if (f->why[0]) {
		column += printf(":");
		print_words(f->why, column, INDENT);
	}
	putchar('\n');
}

static void print_row(enum group group)
{
	int column = printf("  ");

	for (size_t i = 0; i < n_facts; i++)
		if (facts[i].group == group && json_is_true(facts[i].value))
			column = print_words(facts[i].name, column, 2);
	putchar('\n');
}

static void print_group(enum group group)
{
	bool is_row = groups[group].is_row;
	bool is_empty = true;

	for (size_t i = 0; i < n_facts; i++) {
		const struct fact *f = &facts[i];

		if (f->group != group)
			continue;
		if (is_empty) {
			printf("%s%s\n", group ? "\n" : "",
			       groups[group].title);
			if (is_row)
				print_row(group);
			is_empty = false;
		}
		if (!is_row || !json_is_true(f->value))
			print_fact(f);
	}
}

void print_text(void)
{
	for (enum group group = 0; group < N_GROUPS; group++)
		print_group(group);
}

/* --- for programs --- */

void print_json(void)
{
	json_t *root = json_object();

	for (size_t i = 0; i < N_GROUPS; i++)
		json_object_set_new(root, groups[i].key, json_object());
	for (size_t i = 0; i < n_facts; i++) {
		const struct fact *f = &facts[i];
		json_t *fact = json_object();

		json_object_set(fact, "value", f->value);
		if (f->why[0])
			json_object_set_new(fact, "why", json_string(f->why));
		json_object_set_new(json_object_get(root, groups[f->group].key),
				    f->name, fact);
	}
	/* A failed write is told at the end. Else jansson had no memory. */
	if (json_dumpf(root, stdout, JSON_INDENT(2)) && !ferror(stdout))
		abort();
	putchar('\n');
	json_decref(root);
}
