#include "textflag.h"

// func touch(p *uint64)
TEXT ·touch(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	RET

// func touchByte(p *uint8)
TEXT ·touchByte(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	RET
