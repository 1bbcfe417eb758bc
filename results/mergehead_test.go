package results

import (
	"bytes"
	"testing"
)

// ended is when a request was over by all of its record: what parseHead finds without making one.
func ended(r *Record) Moment {
	switch n := len(r.Chunks); {
	case r.Done != 0:
		return r.Done
	case n > 0:
		return r.Chunks[n-1].At
	case r.Dispatched != 0:
		return r.Dispatched
	case r.Released != 0:
		return r.Released
	}
	return r.Due
}

func FuzzHead(f *testing.F) {
	for i := range 12 {
		f.Add(appendRecord(nil, numbered(i)))
	}
	f.Add([]byte(`{"due":5,"at":[1,2],"lag":0,"tok":1,"id":3,"fail":["a","b]"],"new":[[1],"]"]}`))
	f.Add([]byte(`{"id":1,"at":["]"]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsAny(line, "\n") {
			return
		}
		r, err := parseRecord(line)
		h, headErr := parseHead(line)
		if err != nil {
			return // a head may be right where the rest is not
		}
		if headErr != nil {
			if r.ID >= 0 {
				t.Fatalf("%s is a record, but has no head: %v", line, headErr)
			}
			return
		}
		// What is written is what was read: keys that stand twice are not.
		if !bytes.Equal(line, appendRecord(nil, r)) {
			return
		}
		if h.id != r.ID || h.kind != r.Kind || h.failed != !r.OK() || h.end != ended(r) {
			t.Errorf("%s: head %+v, record %d %s, failed %t, ended %d", line, h, r.ID, r.Kind, !r.OK(), ended(r))
		}
	})
}
