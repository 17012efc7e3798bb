/* SPDX-License-Identifier: MIT */
/*
 * Text of the user's in JSON.
 */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include <jansson.h>

/* A string, of any bytes: if they are no UTF-8, those above ASCII are written as \xHH.
 * NULL: no memory. */
json_t *json_text(const char *text);

#endif /* TOOLS_JSON_H */
