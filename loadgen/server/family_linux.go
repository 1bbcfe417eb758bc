package server

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A family is a command and everything descended from it: its process group, the children of
// those in it, and what left both with setsid. The last is found in three ways, because
// none is sure alone: by its parent while it has one, by a mark in its environment (which
// programs that rename themselves overwrite), and, since this process adopts orphans, as
// a child that this process did not start itself.
type family struct {
	token string

	mu      sync.Mutex
	leader  int
	started uint64         // when the leader started
	known   map[int]uint64 // process id to start time: a reused id is another process
}

// markName is the variable that carries the mark.
const markName = "SERVEBENCH_SERVER"

func (f *family) mark() { f.token = rand.Text() }

func (f *family) env() string { return markName + "=" + f.token }

// lead says who the command is, and makes this process the one that adopts its orphans.
func (f *family) lead(pid int) {
	p, _ := readProcess(pid)
	f.mu.Lock()
	f.leader, f.started = pid, p.started
	f.known = make(map[int]uint64)
	f.mu.Unlock()
	leaders.Lock()
	leaders.families = append(leaders.families, f)
	leaders.Unlock()
}

// forget takes the family off the list of those who may own an orphan.
func (f *family) forget() {
	if len(f.members()) > 0 {
		return
	}
	leaders.Lock()
	leaders.families = slices.DeleteFunc(leaders.families, func(g *family) bool { return g == f })
	leaders.Unlock()
}

// leaders are the families that are running.
var leaders struct {
	sync.Mutex
	families []*family
}

func ownGroup() *syscall.SysProcAttr {
	// SIGTERM, not SIGKILL: a server that is killed leaves its workers behind.
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// adopt makes orphans below this process its children. Where the kernel refuses they go to
// init and are found by their mark.
var adopt = sync.OnceFunc(func() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
})

func lockThread() (unlock func()) {
	adopt()
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// A process is one line of /proc.
type process struct {
	pid, parent, group, session int
	zombie                      bool
	started                     uint64 // clock ticks since boot
}

func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return all
}

func readProcess(pid int) (process, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, data)
}

// parseStat reads /proc/PID/stat. The program's name is in parentheses and may itself
// hold any character, so the fields are counted from the last one.
func parseStat(pid int, data []byte) (process, bool) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return process{}, false
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	p := process{pid: pid, zombie: fields[0] == "Z" || fields[0] == "X"}
	for i, into := range map[int]*int{1: &p.parent, 2: &p.group, 3: &p.session} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return process{}, false
		}
		*into = n
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, false
	}
	p.started = started
	return p, true
}

// remember notes who belongs to the family now, while the ties are still there.
func (f *family) remember() { f.members() }

// members are the living processes of the family, the command itself included. Orphans of the
// family that have ended are reaped on the way.
func (f *family) members() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader == 0 {
		return nil
	}
	self := os.Getpid()
	all := processes()
	// An id is not given out again while it names a group, so a stranger under the leader's id
	// means that the group is gone.
	group := f.leader
	if i := slices.IndexFunc(all, func(p process) bool { return p.pid == f.leader }); i >= 0 && all[i].started != f.started {
		group = -1
	}
	mine := make(map[int]bool)
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if mine[p.pid] || p.pid == self {
				continue
			}
			started, known := f.known[p.pid]
			if p.group == group || mine[p.parent] || known && started == p.started || f.isOrphan(p, self) {
				mine[p.pid] = true
				f.known[p.pid] = p.started
				grew = true
			}
		}
	}
	var alive []int
	for _, p := range all {
		switch {
		case !mine[p.pid]:
		case !p.zombie:
			alive = append(alive, p.pid)
		case p.parent == self && p.pid != f.leader: // the leader is waited for by run
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
	}
	return alive
}

// isOrphan says whether p came to this process, or to init, from this family.
func (f *family) isOrphan(p process, self int) bool {
	if p.parent != self && p.parent != 1 {
		return false
	}
	if marked(p.pid, f.env()) {
		return true
	}
	if p.parent != self {
		return false
	}
	// Ours, and not started by us: what this process starts stays in its session, and in its group
	// unless it is a server.
	session, err := unix.Getsid(0)
	if err != nil || p.session == session {
		return false
	}
	leaders.Lock()
	defer leaders.Unlock()
	return len(leaders.families) == 1 && leaders.families[0] == f
}

// marked says whether a process was started with the setting env.
func marked(pid int, env string) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(data, []byte{0}), func(e []byte) bool { return string(e) == env })
}

// signal sends sig to the whole group, and to members that left it.
func (f *family) signal(sig syscall.Signal) {
	members := f.members()
	f.mu.Lock()
	leader := f.leader
	f.mu.Unlock()
	whole := false
	for _, pid := range members {
		p, ok := readProcess(pid)
		switch {
		case !ok:
		case p.group != leader:
			_ = syscall.Kill(pid, sig)
		case !whole:
			whole = true
			_ = syscall.Kill(-leader, sig)
		}
	}
}
