package wire

import (
	"os"
	"runtime"
	"sync"
)

// room guards what the runtime does not: reading and changing its number in one.
var room sync.Mutex

// roomy says that how many threads the runtime runs at a time is ours to change: where GOMAXPROCS is set, the user has said.
func roomy() bool { return os.Getenv("GOMAXPROCS") == "" }

// Room lets the runtime run so many threads more at a time, fewer when more is negative: for threads that wait in the kernel most of the time and
// want to go on at once when they wake. It does nothing where GOMAXPROCS is set.
func Room(more int) {
	if !roomy() {
		return
	}
	room.Lock()
	defer room.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + more)
}
