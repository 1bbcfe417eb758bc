package main

import (
	"fmt"
	"syscall"
)

// clockSync asks the kernel whether something keeps the wall clock right. Only comparisons with other machines need that.
func clockSync() finding {
	const unsynchronized = 0x40 // STA_UNSYNC
	f := finding{state: fine, what: "clock", says: "kept in step with others"}
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		return finding{state: untold, what: "clock", says: err.Error()}
	}
	if t.Status&unsynchronized != 0 {
		f.state, f.says = noticed, "nothing keeps it in step with other machines: their stamps are not comparable with these (chronyd or ntpd would)"
	} else {
		f.says += fmt.Sprintf(", to within %d us by its own estimate", t.Esterror)
	}
	return f
}
