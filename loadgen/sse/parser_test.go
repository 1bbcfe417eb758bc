package sse

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// An event as tests compare it.
type event struct{ Type, Data, ID string }

// parse feeds the pieces and collects what comes out.
func parse(t testing.TB, pieces ...[]byte) ([]event, *Parser) {
	t.Helper()
	var p Parser
	var got []event
	for _, piece := range pieces {
		given := bytes.Clone(piece) // a copy that is destroyed, to catch kept references
		err := p.Feed(given, func(e Event) {
			if e.End <= 0 || e.End > len(given) {
				t.Errorf("event ends at %d of a feed of %d bytes", e.End, len(given))
			}
			got = append(got, event{string(e.Type), string(e.Data), string(e.ID)})
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range given {
			given[i] = '#'
		}
	}
	return got, &p
}

func same(t testing.TB, what string, got, want []event) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestFeed(t *testing.T) {
	for _, tc := range []struct {
		name, stream string
		want         []event
		pending      bool
	}{
		{"one event", "data: a\n\n", []event{{Data: "a"}}, false},
		{"two events", "data: a\n\ndata: b\n\n", []event{{Data: "a"}, {Data: "b"}}, false},
		{"no space after the colon", "data:a\n\n", []event{{Data: "a"}}, false},
		{"only one space is dropped", "data:  a \n\n", []event{{Data: " a "}}, false},
		{"CRLF", "data: a\r\n\r\n", []event{{Data: "a"}}, false},
		{"CR", "data: a\r\rdata: b\r\r", []event{{Data: "a"}, {Data: "b"}}, false},
		{"mixed line ends", "data: a\r\ndata: b\rdata: c\n\n", []event{{Data: "a\nb\nc"}}, false},
		{"CRLF is one line end", "data: a\r\ndata: b\r\n\n", []event{{Data: "a\nb"}}, false},
		{"LF CR is two", "data: a\n\rdata: b\n\n", []event{{Data: "a"}, {Data: "b"}}, false},
		{"several lines", "data: a\ndata: b\n\n", []event{{Data: "a\nb"}}, false},
		{"empty data", "data\n\n", []event{{}}, false},
		{"empty data with a colon", "data:\n\n", []event{{}}, false},
		{"two empty lines of data", "data\ndata\n\n", []event{{Data: "\n"}}, false},
		{"no data, no event", "event: x\n\ndata: a\n\n", []event{{Data: "a"}}, false},
		{"type", "event: x\ndata: a\n\ndata: b\n\n", []event{{Type: "x", Data: "a"}, {Data: "b"}}, false},
		{"type after data", "data: a\nevent: x\n\n", []event{{Type: "x", Data: "a"}}, false},
		{"id stays", "id: 7\ndata: a\n\ndata: b\n\n", []event{{Data: "a", ID: "7"}, {Data: "b", ID: "7"}}, false},
		{"id without data stays", "id: 7\n\ndata: b\n\n", []event{{Data: "b", ID: "7"}}, false},
		{"empty id clears", "id: 7\ndata: a\n\nid\ndata: b\n\n", []event{{Data: "a", ID: "7"}, {Data: "b"}}, false},
		{"id with NUL is ignored", "id: 7\n\nid: 8\x00\ndata: b\n\n", []event{{Data: "b", ID: "7"}}, false},
		{"comment", ": ping\n\ndata: a\n\n", []event{{Data: "a"}}, false},
		{"comment without its own blank line", ": ping\ndata: a\n\n", []event{{Data: "a"}}, false},
		{"comment inside an event", "data: a\n: ping\ndata: b\n\n", []event{{Data: "a\nb"}}, false},
		{"unknown fields", "foo: 1\ndata: a\nDATA: b\n data: c\n\n", []event{{Data: "a"}}, false},
		{"byte order mark", "\ufeffdata: a\n\n", []event{{Data: "a"}}, false},
		{"only the first mark is dropped", "\ufeff\ufeffdata: a\n\ndata: b\n\n", []event{{Data: "b"}}, false},
		{"half a mark belongs to the line", "\xef\xbbdata: a\n\ndata: b\n\n", []event{{Data: "b"}}, false},
		{"blank lines", "\n\n\ndata: a\n\n\n\n", []event{{Data: "a"}}, false},
		{"colon in the value", "data: a: b\n\n", []event{{Data: "a: b"}}, false},
		{"cut after the data line", "data: a\n\ndata: b\n", []event{{Data: "a"}}, true},
		{"cut inside the data line", "data: a\n\ndata: b", []event{{Data: "a"}}, true},
		{"cut after the event line", "event: x\n", nil, true},
		{"cut inside a comment", "data: a\n\n: pi", []event{{Data: "a"}}, false},
		{"cut inside a byte order mark", "\xef\xbb", nil, true},
		{"empty stream", "", nil, false},
		{"no UTF-8 is handed on as it is", "data: \xff\n\n", []event{{Data: "\xff"}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream := []byte(tc.stream)
			same(t, "the reference", reference(tc.stream), tc.want)
			got, p := parse(t, stream)
			same(t, "whole", got, tc.want)
			if p.Pending() != tc.pending {
				t.Errorf("Pending() = %t, want %t", p.Pending(), tc.pending)
			}
			if err := p.End(); errors.Is(err, ErrCut) != tc.pending {
				t.Errorf("End() = %v with pending %t", err, tc.pending)
			}
			for i := range stream {
				got, p := parse(t, stream[:i], stream[i:])
				same(t, fmt.Sprintf("split at byte %d", i), got, tc.want)
				if p.Pending() != tc.pending {
					t.Errorf("split at byte %d: Pending() = %t, want %t", i, p.Pending(), tc.pending)
				}
			}
			same(t, "byte by byte", first(parse(t, bytes.SplitAfter(stream, nil)...)), tc.want)
		})
	}
}

func first(events []event, _ *Parser) []event { return events }

func TestEventIsHandedOutByTheReadThatEndsIt(t *testing.T) {
	var p Parser
	var ends []int
	emit := func(e Event) { ends = append(ends, e.End) }
	for _, tc := range []struct {
		feed string
		want string
	}{
		{"data: a\r", "[]"},
		{"\r", "[1]"}, // the second CR is the blank line; whether an LF follows does not matter
		{"\ndata: b\n\ndata: c\n\nda", "[10 19]"},
		{"ta: d\n\n", "[7]"},
	} {
		ends = ends[:0]
		if err := p.Feed([]byte(tc.feed), emit); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(ends); got != tc.want {
			t.Errorf("feed %q completed events at %s, want %s", tc.feed, got, tc.want)
		}
	}
}

func TestRetry(t *testing.T) {
	for _, tc := range []struct {
		stream string
		want   int
		wantOK bool
	}{
		{"retry: 3000\n", 3000, true},
		{"retry:0\n", 0, true},
		{"retry: 3s\n", 0, false},
		{"retry: -1\n", 0, false},
		{"retry:\n", 0, false},
		{"retry: 10\nretry: x\n", 10, true},
		{"retry: 99999999999999999999\n", 0, false},
	} {
		_, p := parse(t, []byte(tc.stream))
		if got, ok := p.Retry(); got != tc.want || ok != tc.wantOK {
			t.Errorf("%q: Retry() = %d, %t; want %d, %t", tc.stream, got, ok, tc.want, tc.wantOK)
		}
	}
}

func TestMax(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pieces []string
		events int
		fails  bool
	}{
		{"just fits", []string{"data: 3456789\n\n"}, 1, false},
		{"one byte more", []string{"data: 34567890\n\n"}, 0, true},
		{"a line without end", []string{"data: 3456", "78901"}, 0, true},
		{"many lines", []string{"data: a\ndata: b\n"}, 0, true},
		{"each event on its own", []string{"data: 3456789\n\ndata: 3456789\n\n"}, 2, false},
		{"comments are not kept", []string{": a comment of more than the limit\n\n:", "and another one\ndata: a\n\n"}, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Parser{Max: 13}
			events := 0
			var err error
			for _, piece := range tc.pieces {
				if err = p.Feed([]byte(piece), func(Event) { events++ }); err != nil {
					break
				}
			}
			if events != tc.events || errors.Is(err, ErrTooLarge) != tc.fails {
				t.Errorf("%d events and error %v; want %d, failing %t", events, err, tc.events, tc.fails)
			}
			if tc.fails {
				if again := p.Feed([]byte("data: a\n\n"), func(Event) { t.Error("an event after the error") }); again != err {
					t.Errorf("the next Feed returned %v, want %v", again, err)
				}
				if end := p.End(); end != err {
					t.Errorf("End() = %v, want %v", end, err)
				}
			}
		})
	}
}

func TestReset(t *testing.T) {
	var p Parser
	ignore := func(Event) {}
	if err := p.Feed([]byte("retry: 5\nid: 7\ndata: a\n\nevent: x\ndata: cut"), ignore); err != nil {
		t.Fatal(err)
	}
	p.Reset()
	var got []event
	err := p.Feed([]byte("\ufeffdata: b\n\n"), func(e Event) {
		got = append(got, event{string(e.Type), string(e.Data), string(e.ID)})
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after Reset", got, []event{{Data: "b"}})
	if _, ok := p.Retry(); ok {
		t.Error("the retry time survived Reset")
	}
}

// body is the body of a recorded response, its chunked coding taken off.
func body(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name+".response"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	response, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRecordedStreams(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events int
		types  string // of the first and the last event
		last   string // how the last event's data begins
	}{
		{"completions-stream-plain", 8, " ", "[DONE]"},
		{"completions-stream-utf8-split", 50, " ", "[DONE]"},
		{"completions-stream-interval-4", 7, " ", "[DONE]"},
		{"chat-stream-usage", 10, " ", "[DONE]"},
		{"chat-stream-logprobs", 7, " ", "[DONE]"},
		{"responses-stream", 10, "response.created response.completed", `{"response":`},
		{"messages-stream", 8, "message_start message_stop", `{"type":"message_stop"`},
		{"errors-token-out-of-vocabulary", 2, " ", "[DONE]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream := body(t, tc.name)
			want := reference(string(stream))
			if len(want) != tc.events {
				t.Errorf("%d events, want %d", len(want), tc.events)
			}
			begin, end := want[0], want[len(want)-1]
			if got := begin.Type + " " + end.Type; got != tc.types {
				t.Errorf("types %q, want %q", got, tc.types)
			}
			if !strings.HasPrefix(end.Data, tc.last) {
				t.Errorf("the last event is %q, want it to begin with %q", end.Data, tc.last)
			}
			for _, e := range want {
				if e.Data != "[DONE]" && !json.Valid([]byte(e.Data)) {
					t.Errorf("data is no JSON: %q", e.Data)
				}
			}
			got, p := parse(t, stream)
			same(t, "whole", got, want)
			if err := p.End(); err != nil {
				t.Error(err)
			}
			for i := 1; i < len(stream); i++ {
				if got, _ := parse(t, stream[:i], stream[i:]); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("split at byte %d: %q", i, got)
				}
			}
			for size := 1; size < 40; size++ {
				var pieces [][]byte
				for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
					pieces = append(pieces, rest[:min(size, len(rest))])
				}
				if got, _ := parse(t, pieces...); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("in pieces of %d bytes: %q", size, got)
				}
			}
		})
	}
}

// TestCutRecording cuts a recorded stream at every byte: the events before the cut come
// out, the one that was cut never does, and the cut is noticed.
func TestCutRecording(t *testing.T) {
	stream := body(t, "completions-stream-plain")
	for i := range stream {
		got, p := parse(t, stream[:i])
		if want := bytes.Count(stream[:i], []byte("\n\n")); len(got) != want {
			t.Fatalf("cut at byte %d: %d events, want %d", i, len(got), want)
		}
		whole := i == 0 || bytes.HasSuffix(stream[:i], []byte("\n\n"))
		if p.Pending() == whole {
			t.Fatalf("cut at byte %d: Pending() = %t", i, p.Pending())
		}
	}
}

// TestRecordedReads counts the events that each recorded read of a busy client completed.
func TestRecordedReads(t *testing.T) {
	file, err := os.Open("testdata/chat-stream-usage-warm.recv.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // when the request was written
	read, write := io.Pipe()
	var perRead []int
	var p Parser
	go func() {
		for lines.Scan() {
			var one struct{ Text string }
			if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
				write.CloseWithError(err)
				return
			}
			if _, err := io.WriteString(write, one.Text); err != nil {
				return
			}
		}
		write.Close()
	}()
	response, err := http.ReadResponse(bufio.NewReader(read), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := response.Body.Read(buffer)
		events := 0
		if err := p.Feed(buffer[:n], func(Event) { events++ }); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			perRead = append(perRead, events)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.End(); err != nil {
		t.Error(err)
	}
	total, most := 0, 0
	for _, n := range perRead {
		total += n
		most = max(most, n)
	}
	if total != 9 || most != 6 {
		t.Errorf("%d events, at most %d in a read (%v); want 9 and 6", total, most, perRead)
	}
}

// reference is the standard's text, sentence by sentence, on the whole stream at once. It
// differs in nothing but the decoding, which it leaves out as Parser does.
func reference(stream string) []event {
	var events []event
	// "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present."
	stream = strings.TrimPrefix(stream, "\xef\xbb\xbf")
	// Lines end with CR LF, LF or CR; what follows the last of them is no line.
	stream = strings.ReplaceAll(stream, "\r\n", "\n")
	stream = strings.ReplaceAll(stream, "\r", "\n")
	lines := strings.Split(stream, "\n")
	lines = lines[:len(lines)-1]
	data, eventType, idBuffer, lastID := "", "", "", ""
	for _, line := range lines {
		// "If the line is empty: dispatch the event."
		if line == "" {
			// 1. "Set the last event ID string to the value of the last event ID buffer."
			lastID = idBuffer
			// 2. "If the data buffer is an empty string, set the data buffer and the event
			// type buffer to the empty string and return."
			if data == "" {
				eventType = ""
				continue
			}
			// 3. "If the last character is LF, remove it."
			data = strings.TrimSuffix(data, "\n")
			events = append(events, event{eventType, data, lastID})
			data, eventType = "", ""
			continue
		}
		// "If the line starts with a colon: ignore the line."
		if strings.HasPrefix(line, ":") {
			continue
		}
		// "Otherwise, if the string contains a colon": field before it, value after it, less
		// one leading space. "Otherwise": the whole line is the field, the value is empty.
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			eventType = value
		case "data":
			data += value + "\n"
		case "id":
			if !strings.Contains(value, "\x00") {
				idBuffer = value
			}
		}
	}
	return events
}

func FuzzParser(f *testing.F) {
	for _, seed := range []string{
		"data: a\n\n", "\ufeffdata:b\r\n\r\n", "event: e\nid: 1\ndata: a\rdata\r\r: c\nretry: 5\n\n",
		"id: \x00\n\n\r\n\rdata:  \n\n", "\xef\xbbdata: x\n\n", "data\n\ndata\ndata\n\n", ":\n\n:\r\r",
	} {
		f.Add([]byte(seed), uint64(1))
		f.Add([]byte(seed), uint64(0xdeadbeef))
	}
	f.Add(body(f, "messages-stream"), uint64(12345))
	f.Fuzz(func(t *testing.T, stream []byte, splits uint64) {
		want := reference(string(stream))
		got, whole := parse(t, stream)
		same(t, "whole", got, want)
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			splits = splits*6364136223846793005 + 1442695040888963407
			n := min(int(splits>>60), len(rest)) // 0 to 15 bytes; empty reads happen
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got, pieced := parse(t, pieces...)
		same(t, "in pieces", got, want)
		if whole.Pending() != pieced.Pending() {
			t.Errorf("Pending() = %t when whole, %t in pieces", whole.Pending(), pieced.Pending())
		}
	})
}

// FuzzAppend writes an event and reads it back.
func FuzzAppend(f *testing.F) {
	f.Add("", "hello", "")
	f.Add("delta", "two\nlines", "7")
	f.Add("", "\r\n\n\r", " ")
	f.Fuzz(func(t *testing.T, typ, data, id string) {
		if strings.ContainsAny(typ+id, "\r\n") || strings.Contains(id, "\x00") || !utf8.ValidString(data) {
			t.Skip("not for an event stream")
		}
		stream := AppendComment(nil, data)
		stream = Append(stream, Event{Type: []byte(typ), Data: []byte(data), ID: []byte(id)})
		want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)
		got, _ := parse(t, stream)
		same(t, "read back", got, []event{{typ, want, id}})
	})
}

func TestAppend(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"data", AppendData(nil, []byte(`{"a":1}`)), "data: {\"a\":1}\n\n"},
		{"empty data", AppendData(nil, nil), "data: \n\n"},
		{"all fields", Append(nil, Event{Type: []byte("t"), ID: []byte("1"), Data: []byte("a\nb")}), "event: t\nid: 1\ndata: a\ndata: b\n\n"},
		{"appended", AppendData([]byte("x"), []byte("a\r\nb\rc\n")), "xdata: a\ndata: b\ndata: c\ndata: \n\n"},
		{"comment", AppendComment(nil, "ping"), ": ping\n\n"},
		{"chunk", AppendChunk(nil, []byte("data: [DONE]\n\n")), "e\r\ndata: [DONE]\n\n\r\n"},
		{"empty chunk", AppendChunk(nil, nil), ""},
		{"last chunk", AppendLastChunk(nil), "0\r\n\r\n"},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

func TestFeedDoesNotAllocate(t *testing.T) {
	stream := body(t, "completions-stream-plain")
	var p Parser
	events := 0
	emit := func(Event) { events++ }
	feed := func() {
		for i := 0; i < len(stream); i += 300 { // most events span two reads
			if err := p.Feed(stream[i:min(i+300, len(stream))], emit); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed()
	if allocs := testing.AllocsPerRun(100, feed); allocs != 0 {
		t.Errorf("%v allocations per stream, want none", allocs)
	}
	if events != 8*102 {
		t.Errorf("%d events, want %d", events, 8*102)
	}
}

// BenchmarkFeed is the cost of one token's event (240 bytes). Beside the several
// microseconds that the kernel takes to deliver it, it should not show.
func BenchmarkFeed(b *testing.B) {
	stream := body(b, "completions-stream-plain")
	event := stream[:bytes.Index(stream, []byte("\n\n"))+2]
	for _, bc := range []struct {
		name string
		feed []byte
		size int
	}{
		{"alone", event, len(event)},
		{"halves", event, len(event)/2 + 1},
		{"32KiB", bytes.Repeat(event, 32<<10/len(event)), 32 << 10},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			var p Parser
			events := 0
			emit := func(Event) { events++ }
			for b.Loop() {
				for rest := bc.feed; len(rest) > 0; rest = rest[min(bc.size, len(rest)):] {
					if err := p.Feed(rest[:min(bc.size, len(rest))], emit); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}
