/* SPDX-License-Identifier: MIT */
/**
 * base - what all the other headers need
 */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

#ifdef __cplusplus
#define WEFT_BEGIN_DECLS extern "C" {
#define WEFT_END_DECLS   }
#define WEFT_NORETURN    [[noreturn]]
#else
#define WEFT_BEGIN_DECLS
#define WEFT_END_DECLS
#define WEFT_NORETURN _Noreturn
#endif

/* Durations in nanoseconds, the unit of every time in weft. */
#define WEFT_MICROSECOND INT64_C(1000)
#define WEFT_MILLISECOND INT64_C(1000000)
#define WEFT_SECOND      INT64_C(1000000000)

/* A deadline that never comes. */
#define WEFT_FOREVER INT64_MAX

WEFT_BEGIN_DECLS

/**
 * weft_fn - the function that a tasklet or a thread runs
 * @arg: the pointer that was given together with the function
 *
 * Return: 0, or a negative errno, which is the tasklet's result.
 */
typedef int (*weft_fn)(void *arg);

WEFT_END_DECLS

#endif /* WEFT_BASE_H */
