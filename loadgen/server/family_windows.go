package server

import (
	"os"
	"sync"
	"syscall"
)

// A family is the command alone: there are no process groups to signal here.
type family struct {
	mu     sync.Mutex
	leader *os.Process
}

func (f *family) mark()          {}
func (f *family) env() string    { return "SERVEBENCH_SERVER=1" }
func (f *family) remember()      {}
func (f *family) forget()        {}
func (f *family) members() []int { return nil }

func (f *family) lead(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader, _ = os.FindProcess(pid)
}

func ownGroup() *syscall.SysProcAttr { return nil }

func lockThread() (unlock func()) { return func() {} }

func (f *family) signal(syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader != nil {
		_ = f.leader.Kill()
	}
}
