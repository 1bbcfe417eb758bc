//go:build unix

package wire

import (
	"fmt"
	"syscall"
)

// RaiseFileLimit raises the number of files and connections that this process may have open to want, or as far as it may,
// and returns the limit now in force. The error says what would raise it when that is less than want.
func RaiseFileLimit(want uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("file limit: %w", err)
	}
	if uint64(limit.Cur) >= want {
		return uint64(limit.Cur), nil
	}
	// Raising the hard limit takes privileges; raising the soft one up to it does not.
	for _, try := range []uint64{want, uint64(limit.Max)} {
		raised := limit
		setLimit(&raised, try, max(try, uint64(limit.Max)))
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil && try >= want {
			return try, nil
		}
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("file limit: %w", err)
	}
	if have := uint64(limit.Cur); have < want {
		return have, fmt.Errorf("only %d files may be open at a time, %d are wanted: raise the hard limit (ulimit -Hn, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container)", have, want)
	}
	return uint64(limit.Cur), nil
}
