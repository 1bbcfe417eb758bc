//go:build linux || darwin || freebsd

package results

import "syscall"

// FreeDisk is how many bytes a folder's disk has left for who may write there; false when nobody tells.
func FreeDisk(dir string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
