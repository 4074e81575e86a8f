// Package netns makes network namespaces for tests and demonstrations, and
// removes them again whatever happens.
//
// A namespace is named (as `ip netns` names it, under /run/netns), so a person
// can look into it while a test runs. The name carries the process that made
// it and that process' start time; Sweep removes every namespace whose maker
// is dead, kill -9 included, with the processes left inside.
//
// One operating system thread per Namespace lives inside it. Sockets are
// created and processes are started on that thread; everything else (reading,
// writing, connecting, waiting) happens on ordinary goroutines, because a
// socket keeps the namespace it was born in. Processes are started with a
// parent-death signal, which the kernel ties to the *thread* that forked: as
// the thread lives as long as the Namespace, they die with the Namespace and
// with the test, never earlier.
//
// The package never touches the namespace of the caller: no address, route or
// sysctl of the machine is changed. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
//
// Children share the caller's mount namespace: /proc/sys/net shows them their
// own namespace, /sys/class/net does not.
package netns
