/* SPDX-License-Identifier: MIT */
/*
 * x86_64: where a context keeps its registers, and the switch for C to inline.
 *
 * A switch saves the stack pointer, the resume address, rbp and rbx in the context.
 * It declares every other register as overwritten, so the compiler saves just those
 * that it has in use. The context is not on the stack, so nothing is pushed, and
 * the red zone below the stack pointer stays as it is.
 *
 * The switch leaves by an indirect jump from inlined code, so calls and returns
 * stay paired. An out-of-line switch that jumps makes every return above it
 * mispredict, and one that returns mispredicts when the call sites differ.
 *
 * The list of what is overwritten is complete for all registers that the compiler
 * was told of: code of the library may have values in any of them here, and
 * link-time optimisation tells callers what a function leaves alone. Callers that
 * were told of more registers than the library do not inline its functions: see
 * WEFT_API in base/debug.h. A compiler refuses the names of registers that it was
 * not told of.
 *
 * mxcsr and the x87 control word are not touched: they belong to the thread. So
 * does the shadow stack of return addresses that some processors keep. The switch
 * does not know of that stack; context.S lacks the note that would say so, and so
 * turns it off in every program that links with it.
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

#ifdef _SOFT_FLOAT
#define ARCH_X87_REGISTERS
#else
#define ARCH_X87_REGISTERS \
	, "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"
#endif
#ifdef __MMX__
#define ARCH_MMX_REGISTERS \
	, "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7"
#else
#define ARCH_MMX_REGISTERS
#endif
#ifdef __APX_F__
#define ARCH_APX_REGISTERS                                               \
	, "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", \
		"r25", "r26", "r27", "r28", "r29", "r30", "r31"
#else
#define ARCH_APX_REGISTERS
#endif
#ifdef __AVX512F__
#define ARCH_AVX512_REGISTERS                                                  \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",       \
		"xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", \
		"xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6",    \
		"k7"
#else
#define ARCH_AVX512_REGISTERS
#endif

/* A function that has switched may return by a jump; see weft__come_back(). */
#define ARCH_RETURNS_BY_JUMP 1

/* From where the stack is the other one's to where its code goes on, nobody can
 * find a caller: so it is said that there is none. A backtrace in a signal handler,
 * as profilers make it, would otherwise take what it finds there for an address. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define ARCH_LOSE_CALLER ".cfi_remember_state\n\t.cfi_undefined %%rip\n\t"
#define ARCH_FIND_CALLER ".cfi_restore_state\n"
#else
#define ARCH_LOSE_CALLER
#define ARCH_FIND_CALLER
#endif

/* The context that resumes us leaves our own context where it named its target:
 * that is @to afterwards. The landing pad satisfies indirect-branch tracking. */
#define ARCH_SWITCH(from, to)                                                  \
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"                           \
			 "movq %%rsp, 0(%%rdi)\n\t"                            \
			 "movq %%rax, 8(%%rdi)\n\t"                            \
			 "movq %%rbp, 16(%%rdi)\n\t"                           \
			 "movq %%rbx, 24(%%rdi)\n\t" ARCH_LOSE_CALLER          \
			 "movq 0(%%rsi), %%rsp\n\t"                            \
			 "movq 16(%%rsi), %%rbp\n\t"                           \
			 "movq 24(%%rsi), %%rbx\n\t"                           \
			 "jmpq *8(%%rsi)\n" ARCH_FIND_CALLER "1:\tendbr64"     \
			 : "+D"(from), "+S"(to)                                \
			 :                                                     \
			 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11",      \
			   "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", \
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",     \
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",         \
			   "xmm14", "xmm15", "memory",                         \
			   "cc" ARCH_X87_REGISTERS ARCH_MMX_REGISTERS          \
				   ARCH_AVX512_REGISTERS ARCH_APX_REGISTERS)

/* Calls that never return, by jumps. After a call, the processor would have one return
 * too many to predict, and would get all the following ones of the next tasklet wrong. */
#define ARCH_LEAVE(to)                                     \
	do {                                               \
		__asm__ volatile("jmp weft__context_leave" \
				 :                         \
				 : "D"(to)                 \
				 : "memory");              \
		__builtin_unreachable();                   \
	} while (0)
#define ARCH_BEGIN(stack_top, entry, arg)                               \
	do {                                                            \
		__asm__ volatile("jmp weft__context_begin"              \
				 :                                      \
				 : "D"(stack_top), "S"(entry), "d"(arg) \
				 : "memory");                           \
		__builtin_unreachable();                                \
	} while (0)

/* The control words of a tasklet that has its own. */
struct arch_fpu {
	unsigned mxcsr;
	unsigned short x87;
};

static inline void arch_fpu_save(struct arch_fpu *fpu)
{
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1"
			 : "=m"(fpu->mxcsr), "=m"(fpu->x87));
}

static inline void arch_fpu_load(const struct arch_fpu *fpu)
{
	__asm__ volatile("ldmxcsr %0\n\tfldcw %1"
			 :
			 : "m"(fpu->mxcsr), "m"(fpu->x87));
}

#endif /* __ASSEMBLER__ */

#endif /* WEFT__ARCH_FRAME_H */
