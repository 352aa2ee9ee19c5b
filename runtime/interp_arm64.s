#include "textflag.h"

// The interpreter of program.go: R19 is the current step, R20 the header.
// See interp_amd64.s.
TEXT interp<>(SB), NOSPLIT|NOFRAME, $0-0
loop:
	MOVD	72(R19), R9
	TBNZ	$3, R9, spin
	MOVD	0(R19), R8
	MOVD	8(R19), R0
	MOVD	16(R19), R1
	MOVD	24(R19), R2
	MOVD	32(R19), R3
	MOVD	40(R19), R4
	MOVD	48(R19), R5
	SVC
	CMN	$4095, R0
	BCS	failed
	MOVD	72(R19), R9
	CBZ	R0, zero
	TBNZ	$2, R9, jump
	B	advance
zero:
	TBNZ	$1, R9, jump
advance:
	ADD	$96, R19, R19
	B	loop
jump:
	MOVD	64(R19), R19
	B	loop
failed:
	NEG	R0, R0
	MOVD	72(R19), R9
	TBNZ	$0, R9, tolerated
	MOVD	56(R19), R9
match:
	CBZ	R9, report
	AND	$0xff, R9, R10
	CMP	R10, R0
	BEQ	tolerated
	LSR	$8, R9, R9
	B	match
tolerated:
	MOVD	64(R19), R9
	CBZ	R9, advance
	MOVD	R9, R19
	B	loop
spin:
	MOVD	8(R19), R0
	MOVD	16(R19), R1
look:
	MOVWU	(R0), R2
	CBNZ	R2, advance
	YIELD
	SUB	$1, R1, R1
	CBNZ	R1, look
	UNDEF
report:
	MOVD	R0, 0(R20)
	MOVD	80(R19), R9
	MOVD	R9, 24(R20)
	MOVD	88(R19), R9
	MOVD	R9, 32(R20)
	MOVD	40(R20), R19
	B	loop

// func interpPC() unsafe.Pointer
TEXT ·interpPC(SB), NOSPLIT, $0-8
	MOVD	$interp<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func cloneInto(args *cloneArgs, size, code, first, head uintptr) (pid uintptr, errno uintptr)
TEXT ·cloneInto(SB), NOSPLIT, $0-56
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	code+16(FP), R9
	MOVD	first+24(FP), R19
	MOVD	head+32(FP), R20
	MOVD	$435, R8
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCS	bad
	MOVD	R0, pid+40(FP)
	MOVD	ZR, errno+48(FP)
	RET
bad:
	NEG	R0, R0
	MOVD	ZR, pid+40(FP)
	MOVD	R0, errno+48(FP)
	RET
child:
	JMP	(R9)
