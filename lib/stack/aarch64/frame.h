/* SPDX-License-Identifier: MIT */
/*
 * aarch64: where a context keeps its registers, and the switch for C to inline.
 *
 * A switch saves the stack pointer, the resume address, x29 and x19 in the context.
 * It declares every other register as overwritten, so the compiler saves just those
 * that it has in use. x18 is one of them: the platform may claim it, but Linux does
 * not, so compilers use it.
 *
 * The list is complete for all registers that the compiler was told of, with
 * link-time optimisation too. Callers that were told of more registers than the
 * library do not inline its functions, see WEFT_API in base/debug.h. v0 to v31 are
 * the lower parts of SVE's z0 to z31.
 *
 * fpcr is not touched: it belongs to the thread. So does the shadow stack of return
 * addresses that some processors keep (GCS). The switch does not know of that
 * stack; the note in context.S does not claim that it does, and so turns it off.
 */
#ifndef WEFT__ARCH_FRAME_H
#define WEFT__ARCH_FRAME_H

#define CONTEXT_SP 0
#define CONTEXT_PC 8
#define CONTEXT_FP 16
#define CONTEXT_BX 24

#ifndef __ASSEMBLER__

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __ARM_FEATURE_SVE
#define ARCH_SVE_REGISTERS                                                     \
	, "z0", "z1", "z2", "z3", "z4", "z5", "z6", "z7", "z8", "z9", "z10",   \
		"z11", "z12", "z13", "z14", "z15", "z16", "z17", "z18", "z19", \
		"z20", "z21", "z22", "z23", "z24", "z25", "z26", "z27", "z28", \
		"z29", "z30", "z31", "p0", "p1", "p2", "p3", "p4", "p5", "p6", \
		"p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", "p15"
#else
#define ARCH_SVE_REGISTERS
#endif

/* From where the frame is the other one's to where its code goes on, nobody can find
 * a caller: so it is said that there is none, see x86_64/frame.h. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define ARCH_LOSE_CALLER ".cfi_remember_state\n\t.cfi_undefined x30\n\t"
#define ARCH_FIND_CALLER ".cfi_restore_state\n"
#else
#define ARCH_LOSE_CALLER
#define ARCH_FIND_CALLER
#endif

/* The context that resumes us leaves our own context where it named its target:
 * that is @to afterwards. hint 36 is `bti j`, the landing pad where branch targets
 * are checked. */
#define ARCH_SWITCH(from, to)                                                  \
	do {                                                                   \
		register void *arch_from __asm__("x0") = (from);               \
		register void *arch_to __asm__("x1") = (to);                   \
		__asm__ volatile(                                              \
			"adr x2, 1f\n\t"                                       \
			"mov x3, sp\n\t"                                       \
			"stp x3, x2, [x0, #0]\n\t"                             \
			"stp x29, x19, [x0, #16]\n\t" ARCH_LOSE_CALLER         \
			"ldp x3, x2, [x1, #0]\n\t"                             \
			"ldp x29, x19, [x1, #16]\n\t"                          \
			"mov sp, x3\n\t"                                       \
			"br x2\n" ARCH_FIND_CALLER "1:\thint #36"              \
			: "+r"(arch_from), "+r"(arch_to)                       \
			:                                                      \
			: "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9",      \
			  "x10", "x11", "x12", "x13", "x14", "x15", "x16",     \
			  "x17", "x18", "x20", "x21", "x22", "x23", "x24",     \
			  "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", \
			  "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",     \
			  "v11", "v12", "v13", "v14", "v15", "v16", "v17",     \
			  "v18", "v19", "v20", "v21", "v22", "v23", "v24",     \
			  "v25", "v26", "v27", "v28", "v29", "v30", "v31",     \
			  "memory", "cc" ARCH_SVE_REGISTERS);                  \
		(to) = arch_to;                                                \
	} while (0)

/* Calls that never return, by jumps. After a call, the processor would have one return
 * too many to predict, and would get all the following ones of the next tasklet wrong. */
#define ARCH_LEAVE(to)                                       \
	do {                                                 \
		register void *arch_to __asm__("x0") = (to); \
		__asm__ volatile("b weft__context_leave"     \
				 :                           \
				 : "r"(arch_to)              \
				 : "memory");                \
		__builtin_unreachable();                     \
	} while (0)
#define ARCH_BEGIN(stack_top, entry, arg)                                    \
	do {                                                                 \
		register void *arch_top __asm__("x0") = (stack_top);         \
		register void (*arch_entry)(void *) __asm__("x1") = (entry); \
		register void *arch_arg __asm__("x2") = (arg);               \
		__asm__ volatile("b weft__context_begin"                     \
				 :                                           \
				 : "r"(arch_top), "r"(arch_entry),           \
				   "r"(arch_arg)                             \
				 : "memory");                                \
		__builtin_unreachable();                                     \
	} while (0)

/* The control word of a tasklet that has its own. */
struct arch_fpu {
	unsigned long fpcr;
};

static inline void arch_fpu_save(struct arch_fpu *fpu)
{
	__asm__ volatile("mrs %0, fpcr" : "=r"(fpu->fpcr));
}

static inline void arch_fpu_load(const struct arch_fpu *fpu)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(fpu->fpcr));
}

#endif /* __ASSEMBLER__ */

#endif /* WEFT__ARCH_FRAME_H */
