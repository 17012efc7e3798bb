/* SPDX-License-Identifier: MIT */
#include "base/debug.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/valgrind.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
bool weft__on_valgrind;

void weft__ask_for_valgrind(void)
{
	weft__on_valgrind = RUNNING_ON_VALGRIND;
}
#endif

static void print_line(const char *format, va_list arguments)
{
	char line[512];
	int n = snprintf(line, sizeof line, "weft: ");
	int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, format,
			  arguments);

	n += m < (int)sizeof line - n - 1 ? m : (int)sizeof line - n - 2;
	line[n++] = '\n';
	/* If standard error cannot be written to, there is nobody to tell. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void weft__warn(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line(format, arguments);
	va_end(arguments);
}

_Noreturn void weft__fail(const char *what, const char *where)
{
	weft__warn("%s (%s)", what, where);
	abort();
}
