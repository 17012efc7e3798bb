/* SPDX-License-Identifier: MIT */
/*
 * aarch64, AAPCS64 (section 6.1): the switch out of line, the switch that saves
 * nothing, and where a fresh stack begins. A context is four words, see
 * frame.h; the out-of-line switch and the inlined one share it, so either can
 * resume what the other left. `hint 34` is bti c, `hint 36` is bti j.
 */
#include "frame.h"

	.text

/*
 * void weft__context_jump(struct context *from, struct context *to)
 *
 * The stack while suspended, 144 bytes:
 *
 *	sp + 128  x30, the return address
 *	sp +  64  d8 to d15
 *	sp        x20 to x27
 *	sp + 136  x28
 *
 * x29 and x19 are in the context.
 */
	.globl	weft__context_jump
	.hidden	weft__context_jump
	.type	weft__context_jump, %function
	.p2align 4
weft__context_jump:
	.cfi_startproc
	hint	34
	sub	sp, sp, #144
	.cfi_adjust_cfa_offset 144
	stp	x20, x21, [sp, #0]
	.cfi_rel_offset x20, 0
	.cfi_rel_offset x21, 8
	stp	x22, x23, [sp, #16]
	.cfi_rel_offset x22, 16
	.cfi_rel_offset x23, 24
	stp	x24, x25, [sp, #32]
	.cfi_rel_offset x24, 32
	.cfi_rel_offset x25, 40
	stp	x26, x27, [sp, #48]
	.cfi_rel_offset x26, 48
	.cfi_rel_offset x27, 56
	stp	d8, d9, [sp, #64]
	stp	d10, d11, [sp, #80]
	stp	d12, d13, [sp, #96]
	stp	d14, d15, [sp, #112]
	stp	x30, x28, [sp, #128]
	.cfi_rel_offset x30, 128
	.cfi_rel_offset x28, 136
	adr	x2, 1f
	mov	x3, sp
	stp	x3, x2, [x0, #CONTEXT_SP]
	stp	x29, x19, [x0, #CONTEXT_FP]
	.cfi_remember_state
	.cfi_undefined x30
	ldp	x3, x2, [x1, #CONTEXT_SP]
	ldp	x29, x19, [x1, #CONTEXT_FP]
	mov	sp, x3
	br	x2
	.cfi_restore_state
1:
	hint	36
	ldp	x20, x21, [sp, #0]
	ldp	x22, x23, [sp, #16]
	ldp	x24, x25, [sp, #32]
	ldp	x26, x27, [sp, #48]
	ldp	d8, d9, [sp, #64]
	ldp	d10, d11, [sp, #80]
	ldp	d12, d13, [sp, #96]
	ldp	d14, d15, [sp, #112]
	ldp	x30, x28, [sp, #128]
	add	sp, sp, #144
	.cfi_adjust_cfa_offset -144
	.cfi_restore x20
	.cfi_restore x21
	.cfi_restore x22
	.cfi_restore x23
	.cfi_restore x24
	.cfi_restore x25
	.cfi_restore x26
	.cfi_restore x27
	.cfi_restore x28
	.cfi_restore x30
	ret
	.cfi_endproc
	.size	weft__context_jump, .-weft__context_jump

/*
 * void weft__context_leave(struct context *to): go there and never come back.
 * The inlined switch expects to find itself in x1.
 */
	.globl	weft__context_leave
	.hidden	weft__context_leave
	.type	weft__context_leave, %function
	.p2align 4
weft__context_leave:
	.cfi_startproc
	.cfi_undefined x30
	hint	34
	mov	x1, x0
	ldp	x3, x2, [x1, #CONTEXT_SP]
	ldp	x29, x19, [x1, #CONTEXT_FP]
	mov	sp, x3
	br	x2
	.cfi_endproc
	.size	weft__context_leave, .-weft__context_leave

/*
 * The first instructions on a fresh stack. x19 holds the function and x29 its
 * argument, as weft__context_make() left them. The return address is declared
 * undefined, so a debugger's backtrace ends here, as does the chain of frame
 * records. This jumps, because a call would leave the processor with one return too
 * many to predict. A jump by x16 may land where a call may land.
 */
	.globl	weft__context_entry
	.hidden	weft__context_entry
	.type	weft__context_entry, %function
	.p2align 4
weft__context_entry:
	.cfi_startproc
	.cfi_undefined x30
	hint	36
	mov	x0, x29
	mov	x29, xzr
	adr	x30, 1f
	mov	x16, x19
	br	x16
1:
	brk	#1
	.cfi_endproc
	.size	weft__context_entry, .-weft__context_entry

/*
 * void weft__context_begin(void *stack_top, void (*entry)(void *arg), void *arg):
 * the same for a caller that is on another stack.
 */
	.globl	weft__context_begin
	.hidden	weft__context_begin
	.type	weft__context_begin, %function
	.p2align 4
weft__context_begin:
	.cfi_startproc
	.cfi_undefined x30
	hint	34
	mov	sp, x0
	mov	x0, x2
	mov	x16, x1
	mov	x29, xzr
	adr	x30, 1f
	br	x16
1:
	brk	#1
	.cfi_endproc
	.size	weft__context_begin, .-weft__context_begin

/* This note says that every indirect target above is a landing pad (BTI). */
	.section .note.gnu.property, "a"
	.p2align 3
	.word	4, 16, 5
	.asciz	"GNU"
	.word	0xc0000000, 4, 1, 0

	.section .note.GNU-stack, "", %progbits
