#include "textflag.h"

// The interpreter of program.go: R12 is the current step, R13 the header.
// It uses no stack and no memory but the program's, so that it runs anywhere
// it is copied to, in a process that has thrown everything else away.
TEXT interp<>(SB), NOSPLIT|NOFRAME, $0-0
loop:
	TESTQ	$8, 72(R12)
	JNE	spin
	MOVQ	0(R12), AX
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
	MOVQ	24(R12), DX
	MOVQ	32(R12), R10
	MOVQ	40(R12), R8
	MOVQ	48(R12), R9
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	MOVQ	72(R12), BX
	TESTQ	AX, AX
	JEQ	zero
	TESTQ	$4, BX
	JNE	jump
	JMP	advance
zero:
	TESTQ	$2, BX
	JNE	jump
advance:
	ADDQ	$96, R12
	JMP	loop
jump:
	MOVQ	64(R12), R12
	JMP	loop
failed:
	NEGQ	AX
	MOVQ	72(R12), BX
	TESTQ	$1, BX
	JNE	tolerated
	MOVQ	56(R12), BX
match:
	TESTQ	BX, BX
	JEQ	report
	MOVBQZX	BX, CX
	CMPQ	CX, AX
	JEQ	tolerated
	SHRQ	$8, BX
	JMP	match
tolerated:
	MOVQ	64(R12), BX
	TESTQ	BX, BX
	JEQ	advance
	MOVQ	BX, R12
	JMP	loop
spin:
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
look:
	MOVL	(DI), AX
	TESTL	AX, AX
	JNE	advance
	PAUSE
	DECQ	SI
	JNE	look
	UNDEF
report:
	MOVQ	AX, 0(R13)
	MOVQ	80(R12), BX
	MOVQ	BX, 24(R13)
	MOVQ	88(R12), BX
	MOVQ	BX, 32(R13)
	MOVQ	40(R13), R12
	JMP	loop

// func interpPC() unsafe.Pointer
TEXT ·interpPC(SB), NOSPLIT, $0-8
	MOVQ	$interp<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func cloneInto(args *cloneArgs, size, code, first, head uintptr) (pid uintptr, errno uintptr)
TEXT ·cloneInto(SB), NOSPLIT, $0-56
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	code+16(FP), BX
	MOVQ	first+24(FP), R12
	MOVQ	head+32(FP), R13
	MOVQ	$435, AX
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	CMPQ	AX, $0xfffffffffffff001
	JCC	bad
	MOVQ	AX, pid+40(FP)
	MOVQ	$0, errno+48(FP)
	RET
bad:
	NEGQ	AX
	MOVQ	$0, pid+40(FP)
	MOVQ	AX, errno+48(FP)
	RET
child:
	JMP	BX
