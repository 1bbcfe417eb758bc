package server

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// A logFile is the part of a log file that one command wrote.
type logFile struct {
	path string
	from int64 // what stood in it before
}

// longestTail bounds what is read back from the end of a log.
const longestTail = 256 << 10

// tail returns the last n lines; none when the log cannot be read.
func (l logFile) tail(n int) []string {
	if l.path == "" {
		return nil
	}
	file, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	start := max(l.from, info.Size()-longestTail)
	data, err := io.ReadAll(io.NewSectionReader(file, start, max(0, info.Size()-start)))
	if err != nil {
		return nil
	}
	if start > l.from {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	lines := splitLines(data)
	return lines[max(0, len(lines)-n):]
}

// A follower reads the lines of a growing log as they come. It is polled, because a
// server under test writes for minutes and nobody waits on a single line.
type follower struct {
	log     logFile
	file    *os.File
	at      int64
	partial []byte
}

// longestLine bounds a line that does not end.
const longestLine = 64 << 10

// lines returns the lines completed since the last call.
func (f *follower) lines() []string {
	if f.log.path == "" {
		return nil
	}
	if f.file == nil {
		file, err := os.Open(f.log.path)
		if err != nil {
			return nil
		}
		f.file, f.at = file, f.log.from
	}
	var lines []string
	buffer := make([]byte, 64<<10)
	for {
		n, err := f.file.ReadAt(buffer, f.at)
		f.at += int64(n)
		f.partial = append(f.partial, buffer[:n]...)
		if end := bytes.LastIndexByte(f.partial, '\n'); end >= 0 {
			lines = append(lines, splitLines(f.partial[:end+1])...)
			f.partial = append(f.partial[:0], f.partial[end+1:]...)
		} else if len(f.partial) > longestLine {
			lines = append(lines, splitLines(f.partial)...)
			f.partial = f.partial[:0]
		}
		if err != nil || n == 0 {
			return lines
		}
	}
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
	}
}

// splitLines splits at line ends. Of a line that a progress bar redrew with carriage returns, what
// stood there last is kept.
func splitLines(data []byte) []string {
	var lines []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if i := strings.LastIndexByte(line, '\r'); i >= 0 {
			line = line[i+1:]
		}
		lines = append(lines, line)
	}
	return lines
}
