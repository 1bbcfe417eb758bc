package wire

import (
	"os"
	"strings"
)

// untold says that a thread may wait in the kernel without the runtime's being told, and so keep its place among those that the runtime lets run. Telling costs
// as much as a short wait itself, has another thread look every 20 us for a millisecond whether the place can be given away, and on waking
// there may be none. The runtime interrupts such a wait with a signal when it wants the thread to stop, as it does for a loop that calls nothing; where that is turned
// off, it would stand still. Nor may a thread do so where GOMAXPROCS leaves no room for it.
func untold() bool {
	return roomy() && !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")
}
