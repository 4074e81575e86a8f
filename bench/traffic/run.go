package traffic

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// testRun is the part of union bpf_attr that BPF_PROG_TEST_RUN uses. The
// library's own call does not tell the time when it gives a context.
type testRun struct {
	progFD, retval            uint32
	dataSizeIn, dataSizeOut   uint32
	dataIn, dataOut           uint64
	repeat, duration          uint32
	ctxSizeIn, ctxSizeOut     uint32
	ctxIn, ctxOut             uint64
	flags, cpu, batchSize, _p uint32
}

// xdpMD is struct xdp_md.
type xdpMD struct{ data, dataEnd, dataMeta, ifindex, queue, egress uint32 }

const (
	cmdProgTestRun = 10
	liveFrames     = 1 << 1 // BPF_F_TEST_XDP_LIVE_FRAMES
)

// run is one BPF_PROG_TEST_RUN; batch is how many live frames are on their way at
// once. With an ifindex the packets come in by that
// interface of the calling thread's namespace. Signals wait meanwhile: the
// kernel would give up early.
func run(p *ebpf.Program, data []byte, ifindex, repeat, batch int, flags uint32) (each time.Duration, err error) {
	md := xdpMD{dataEnd: uint32(len(data)), ifindex: uint32(ifindex)}
	attr := testRun{
		progFD: uint32(p.FD()), dataSizeIn: uint32(len(data)), dataIn: uint64(uintptr(unsafe.Pointer(&data[0]))),
		repeat: uint32(repeat), flags: flags, batchSize: uint32(batch),
	}
	if ifindex != 0 {
		attr.ctxIn, attr.ctxSizeIn = uint64(uintptr(unsafe.Pointer(&md))), uint32(unsafe.Sizeof(md))
	}
	var pin runtime.Pinner
	pin.Pin(&data[0])
	pin.Pin(&md)
	defer pin.Unpin()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, fmt.Errorf("block signals: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, cmdProgTestRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		return 0, fmt.Errorf("unblock signals: %w", err)
	}
	if errno != 0 {
		return 0, fmt.Errorf("prog-run of %v: %w", p, errno)
	}
	return time.Duration(attr.duration), nil
}
