/* SPDX-License-Identifier: MIT */
/*
 * Instructions for which C has no words.
 */
#ifndef WEFT__CPU_H
#define WEFT__CPU_H

#include <stdatomic.h>
#include <stdint.h>

/* Asks for a cache line to write to, and does not wait for it. */
static inline void arch_fetch_to_write(const void *line)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
	__builtin_prefetch(line, 1);
#endif
}

/* For the time between two looks at a word that another CPU is about to change. */
static inline void arch_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" : : : "memory");
#else
#error "weft does not know how this processor pauses"
#endif
}

/* Clears bits in a process that has one thread. Only a signal handler can come in
 * between there, and on x86_64 it cannot come into the middle of an instruction. So
 * that one needs no lock prefix, which is most of what an exchange costs. */
static inline void arch_and_alone(_Atomic(uint64_t) *word, uint64_t bits)
{
#if defined(__x86_64__)
	__asm__ volatile("andq %1, %0" : "+m"(*word) : "er"(bits) : "cc");
#else
	atomic_fetch_and_explicit(word, bits, memory_order_relaxed);
#endif
}

#endif /* WEFT__CPU_H */
