//go:build unix && !linux

package server

import (
	"sync"
	"syscall"
)

// A family is a command and its process group. Here a process that leaves the group is
// not found again.
type family struct {
	mu     sync.Mutex
	leader int
}

func (f *family) mark()       {}
func (f *family) env() string { return "SERVEBENCH_SERVER=1" }
func (f *family) remember()   {}
func (f *family) forget()     {}

func (f *family) lead(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = pid
}

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func lockThread() (unlock func()) { return func() {} }

// members is the group's leader while anything in the group is alive.
func (f *family) members() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader == 0 || syscall.Kill(-f.leader, 0) != nil {
		return nil
	}
	return []int{f.leader}
}

func (f *family) signal(sig syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader != 0 {
		_ = syscall.Kill(-f.leader, sig)
	}
}
