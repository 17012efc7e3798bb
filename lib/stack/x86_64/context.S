/* SPDX-License-Identifier: MIT */
/*
 * x86_64, System V ABI (section 3.2): the switch out of line, the switch that
 * saves nothing, and where a fresh stack begins. A context is four words, see
 * frame.h; the out-of-line switch and the inlined one share it, so either can
 * resume what the other left.
 */
#include "frame.h"

	.text

/*
 * void weft__context_jump(struct context *from, struct context *to)
 *
 * The stack while suspended:
 *
 *	sp + 32   return address
 *	sp + 24   r12
 *	sp + 16   r13
 *	sp +  8   r14
 *	sp        r15
 *
 * It returns by `ret` to the call that left by it, so that the processor's return
 * predictor stays in step.
 */
	.globl	weft__context_jump
	.hidden	weft__context_jump
	.type	weft__context_jump, @function
	.p2align 4
weft__context_jump:
	.cfi_startproc
	endbr64
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	leaq	1f(%rip), %rax
	movq	%rsp, CONTEXT_SP(%rdi)
	movq	%rax, CONTEXT_PC(%rdi)
	movq	%rbp, CONTEXT_FP(%rdi)
	movq	%rbx, CONTEXT_BX(%rdi)
	.cfi_remember_state
	.cfi_undefined %rip
	movq	CONTEXT_SP(%rsi), %rsp
	movq	CONTEXT_FP(%rsi), %rbp
	movq	CONTEXT_BX(%rsi), %rbx
	jmpq	*CONTEXT_PC(%rsi)
	.cfi_restore_state
1:
	endbr64
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	ret
	.cfi_endproc
	.size	weft__context_jump, .-weft__context_jump

/*
 * void weft__context_leave(struct context *to): go there and never come back.
 * The inlined switch expects to find itself in rsi. It is jumped to, from any depth of
 * a frame, so a backtrace ends here.
 */
	.globl	weft__context_leave
	.hidden	weft__context_leave
	.type	weft__context_leave, @function
	.p2align 4
weft__context_leave:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	movq	%rdi, %rsi
	movq	CONTEXT_SP(%rsi), %rsp
	movq	CONTEXT_FP(%rsi), %rbp
	movq	CONTEXT_BX(%rsi), %rbx
	jmpq	*CONTEXT_PC(%rsi)
	.cfi_endproc
	.size	weft__context_leave, .-weft__context_leave

/*
 * int weft__come_back(int result, const void *predicted): returns @result, by `ret`
 * if the return address is the one that the processor expects, else by a jump; see
 * stack/context.h.
 */
	.globl	weft__come_back
	.hidden	weft__come_back
	.type	weft__come_back, @function
	.p2align 4
weft__come_back:
	.cfi_startproc
	endbr64
	movl	%edi, %eax
	cmpq	%rsi, (%rsp)
	jne	1f
	ret
1:
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	jmpq	*%rcx
	.cfi_endproc
	.size	weft__come_back, .-weft__come_back

/*
 * The first instructions on a fresh stack. rbx holds the function and rbp its
 * argument, as weft__context_make() left them; the stack pointer is a multiple of
 * 16. The return address is declared undefined, so a debugger's backtrace ends
 * here, as does the chain of frame pointers. This jumps instead of calling, because
 * nothing returns: the processor would have one return too many to predict, and
 * would get all the following ones wrong.
 */
	.globl	weft__context_entry
	.hidden	weft__context_entry
	.type	weft__context_entry, @function
	.p2align 4
weft__context_entry:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	movq	%rbp, %rdi
	xorl	%ebp, %ebp
	leaq	1f(%rip), %rax
	pushq	%rax
	jmpq	*%rbx
1:
	ud2
	.cfi_endproc
	.size	weft__context_entry, .-weft__context_entry

/*
 * void weft__context_begin(void *stack_top, void (*entry)(void *arg), void *arg):
 * the same for a caller that is on another stack.
 */
	.globl	weft__context_begin
	.hidden	weft__context_begin
	.type	weft__context_begin, @function
	.p2align 4
weft__context_begin:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	movq	%rdi, %rsp
	movq	%rdx, %rdi
	xorl	%ebp, %ebp
	leaq	1f(%rip), %rax
	pushq	%rax
	jmpq	*%rsi
1:
	ud2
	.cfi_endproc
	.size	weft__context_begin, .-weft__context_begin

	.section .note.GNU-stack, "", @progbits
