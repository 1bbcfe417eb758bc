package wire

import (
	"os"
	"runtime"
	"sync"
)

// room guards what the runtime does not: reading and changing its number in one.
var room sync.Mutex

// Room lets the runtime run so many threads more at a time, fewer when more is negative: for threads that wait in the kernel most of the time and
// want to go on at once when they wake. It is false, and does nothing, where GOMAXPROCS is set: then the user has said how many.
func Room(more int) bool {
	if os.Getenv("GOMAXPROCS") != "" {
		return false
	}
	room.Lock()
	defer room.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + more)
	return true
}
