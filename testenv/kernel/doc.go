// Command kernel runs test binaries of this module on another kernel than the
// host's: it builds them without cgo, packs them with a first process (init)
// into an initramfs, boots the kernel in qemu, and reads from the serial
// console how they ended. The virtual machine has no disk and no network, and
// powers itself off.
//
//	kernel -image vmlinuz -modules DIR -release 6.1. [-run REGEXP] PACKAGE...
//
// The exit status is 0 only if the machine ran a kernel of that release, and
// every package ran, passed, and did not skip everything. scripts/kernel-6.1
// calls it for Debian 12's kernel.
package main
