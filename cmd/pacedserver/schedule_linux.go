//go:build !386 && !s390x

package main

import "container/heap"

// A schedule holds the streams that have a chunk to send, the one that is due first on top.
type schedule []*stream

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if s[i].due != s[j].due {
		return s[i].due < s[j].due
	}
	return s[i].number < s[j].number
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(*stream)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return x
}

func (s *schedule) add(x *stream) { heap.Push(s, x) }
func (s *schedule) next() *stream { return heap.Pop(s).(*stream) }

// A stream is one response under way.
type stream struct {
	conn    *conn
	words   *wording
	number  int   // of the request, from 0
	due     int64 // when to look at it next
	planned int64 // when its next chunk is due, which lies before due when the client reads too slowly
	written int   // chunks
	left    int   // tokens
	usage   bool
	prompt  int
	record  *record
}

// firstDue is when the first chunk of a request that arrived at arrived is due. origin is the first step of the engine.
func (c config) firstDue(arrived, origin int64) int64 {
	due := arrived + int64(c.First)
	if !c.Align {
		return due
	}
	gap := int64(c.Gap)
	late := (due - origin) % gap
	if late < 0 {
		late += gap
	}
	if late > 0 {
		due += gap - late
	}
	return due
}
