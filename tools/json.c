/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
	json_t *string = json_string(text);
	char *ascii, *to;

	if (string)
		return string;
	ascii = to = malloc(4 * strlen(text) + 1);
	if (!ascii)
		return NULL;
	for (; *text; text++)
		to += sprintf(to, *text & 0x80 ? "\\x%02x" : "%c",
			      (unsigned char)*text);
	*to = '\0';
	string = json_string(ascii);
	free(ascii);
	return string;
}
