/* SPDX-License-Identifier: MIT */
/*
 * x86_64: where a context keeps its registers, and the switch for C to inline.
 *
 * A switch saves the stack pointer, the resume address, rbp and rbx in the
 * context and declares every other register as overwritten, so the compiler
 * saves just those it has in use. The context is not on the stack, so nothing is
 * pushed and the red zone below the stack pointer stays as it is.
 *
 * Leaving by an indirect jump from inlined code keeps calls and returns paired:
 * an out-of-line switch that jumps makes every return above it mispredict, and
 * one that returns mispredicts when the call sites differ.
 *
 * The list of what is overwritten is complete for whatever the compiler was told
 * that the processor has, since code of the library may have values in any
 * register here, and link-time optimisation tells callers what a function leaves
 * alone. Callers that were told of more than the library are not inlined into:
 * see WEFT_API in debug.h. A compiler refuses names of what it was not told of.
 *
 * mxcsr and the x87 control word are not touched: they belong to the thread. So
 * does the shadow stack of return addresses that some processors keep. The switch
 * does not know of it; context.S lacks the note which would say so, and thereby
 * leaves it off in every program that links with it.
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

/* What has switched may return by a jump; see weft__come_back(). */
#define ARCH_RETURNS_BY_JUMP 1

/* Who resumes us leaves our own context where it named its target: that is what
 * @to is afterwards. The landing pad keeps indirect-branch tracking content. */
#define ARCH_SWITCH(from, to)                                                  \
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"                           \
			 "movq %%rsp, 0(%%rdi)\n\t"                            \
			 "movq %%rax, 8(%%rdi)\n\t"                            \
			 "movq %%rbp, 16(%%rdi)\n\t"                           \
			 "movq %%rbx, 24(%%rdi)\n\t"                           \
			 "movq 0(%%rsi), %%rsp\n\t"                            \
			 "movq 16(%%rsi), %%rbp\n\t"                           \
			 "movq 24(%%rsi), %%rbx\n\t"                           \
			 "jmpq *8(%%rsi)\n"                                    \
			 "1:\tendbr64"                                         \
			 : "+D"(from), "+S"(to)                                \
			 :                                                     \
			 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11",      \
			   "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", \
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",     \
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",         \
			   "xmm14", "xmm15", "memory",                         \
			   "cc" ARCH_X87_REGISTERS ARCH_MMX_REGISTERS          \
				   ARCH_AVX512_REGISTERS ARCH_APX_REGISTERS)

/* The control words of a tasklet that keeps its own. */
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

/* Asks for a cache line to write to, without waiting for it. */
static inline void arch_fetch_to_write(const void *line)
{
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
}

static inline void arch_pause(void)
{
	__builtin_ia32_pause();
}

/* Clears bits, in a process that has one thread: nothing but a handler of a signal
 * can come in between, and not into the middle of one instruction. So it goes
 * without the lock, which is most of what an exchange costs. */
static inline void arch_and_alone(_Atomic(uint64_t) *word, uint64_t bits)
{
	__asm__ volatile("andq %1, %0" : "+m"(*word) : "er"(bits) : "cc");
}

#endif /* __ASSEMBLER__ */

#endif /* WEFT__ARCH_FRAME_H */
