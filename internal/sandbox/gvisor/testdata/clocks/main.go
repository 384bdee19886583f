// Command clocks is a function that says whether programs in its sandbox read the time without their kernel: it looks at
// what the kernel shows the vDSO, for half a second at most.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

func main() {
	api := "http://127.0.0.1:9001/2018-06-01/runtime/invocation/"
	r, err := http.Get(api + "next")
	if err != nil {
		panic(err)
	}
	id := r.Header.Get("Lambda-Runtime-Aws-Request-Id")
	answer, err := json.Marshal(known())
	if err != nil {
		panic(err)
	}
	if _, err := http.Post(api+id+"/response", "application/json", bytes.NewReader(answer)); err != nil {
		panic(err)
	}
	select {}
}

// known looks at gVisor's parameters of the vDSO (pkg/sentry/kernel/vdso.go): a counter, and then whether the monotonic
// clock's are valid.
func known() bool {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "[vvar]") {
			continue
		}
		start, _, _ := strings.Cut(line, "-")
		at, err := strconv.ParseUint(start, 16, 64)
		if err != nil {
			panic(err)
		}
		ready := (*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&at)))
		ready = (*uint64)(unsafe.Add(unsafe.Pointer(ready), 8))
		for began := now(); now()-began < 500e6; {
			if atomic.LoadUint64(ready) == 1 {
				return true
			}
		}
		return false
	}
	panic(fmt.Sprintf("no parameters in %s", maps))
}

// now asks the kernel.
func now() int64 {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic(errno)
	}
	return t.Nano()
}
