package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Fault is something that goes wrong with a request. Its parts can be combined. Tokens are counted
// over the whole request, from 1.
type Fault struct {
	// Status answers with this HTTP status, and Message as the error's text, instead of 200.
	Status  int
	Message string

	// BeforeHeaders delays the response headers, BeforeFirst the first token's event (the token itself is
	// computed when it would have been).
	BeforeHeaders, BeforeFirst time.Duration
	// Stall holds this stream back for that long before token StallAt goes out; Freeze stops the
	// whole engine for that long when this request's token FreezeAt goes out.
	Stall    time.Duration
	StallAt  int
	Freeze   time.Duration
	FreezeAt int

	// Cut ends the connection after token CutAt (0: right after the headers) in one of the ways CutReset, CutClose
	// and CutEnd.
	Cut   string
	CutAt int
	// ErrorAt sends an error event with ErrorMessage after so many tokens, then [DONE], in a stream whose status
	// is 200. 0 is none, -1 before the first token.
	ErrorAt      int
	ErrorMessage string
	// MalformedAt sends an event that is no JSON after so many tokens, and goes on.
	MalformedAt int

	// Interval is the number of tokens in an event of the stream. Join has all tokens that wait go out in one, as a
	// server does whose own loop lags; with a stall or a slow client some do.
	Interval int
	Join     bool
	// Comments sends the line ": ping" before every event. CRLF ends lines in CR LF. NoSpace leaves out the blank
	// after "data:". Split writes each event in pieces of so many bytes.
	Comments, CRLF, NoSpace bool
	Split                   int
	// NoUsage leaves the usage out though it was asked for; NoDone the closing [DONE].
	NoUsage, NoDone bool

	// Share is the share of requests that are struck, drawn from the seed; 0 is all of them. From and To
	// limit the fault to the requests of these numbers, from 1; 0 is no limit.
	Share    float64
	From, To int
}

// Ways to cut a connection.
const (
	CutReset = "reset" // a TCP reset
	CutClose = "close" // the connection is closed inside the body
	CutEnd   = "end"   // the response ends in good order, but too early
)

// faultKeys are the words of ParseFault.
var faultKeys = map[string]func(*Fault, string) error{
	"status":         func(f *Fault, v string) error { return scanInt(&f.Status, v) },
	"message":        func(f *Fault, v string) error { f.Message, f.ErrorMessage = v, v; return nil },
	"before-headers": func(f *Fault, v string) error { return scanDuration(&f.BeforeHeaders, v) },
	"before-first":   func(f *Fault, v string) error { return scanDuration(&f.BeforeFirst, v) },
	"stall":          func(f *Fault, v string) error { return scanDurationAt(&f.Stall, &f.StallAt, v) },
	"freeze":         func(f *Fault, v string) error { return scanDurationAt(&f.Freeze, &f.FreezeAt, v) },
	"cut": func(f *Fault, v string) error {
		way, at, found := strings.Cut(v, "@")
		f.Cut = way
		if !found {
			return nil
		}
		return scanInt(&f.CutAt, at)
	},
	"error":     func(f *Fault, v string) error { return scanInt(&f.ErrorAt, v) },
	"malformed": func(f *Fault, v string) error { return scanInt(&f.MalformedAt, v) },
	"interval":  func(f *Fault, v string) error { return scanInt(&f.Interval, v) },
	"join":      func(f *Fault, v string) error { return scanBool(&f.Join, v) },
	"comments":  func(f *Fault, v string) error { return scanBool(&f.Comments, v) },
	"crlf":      func(f *Fault, v string) error { return scanBool(&f.CRLF, v) },
	"no-space":  func(f *Fault, v string) error { return scanBool(&f.NoSpace, v) },
	"split":     func(f *Fault, v string) error { return scanInt(&f.Split, v) },
	"no-usage":  func(f *Fault, v string) error { return scanBool(&f.NoUsage, v) },
	"no-done":   func(f *Fault, v string) error { return scanBool(&f.NoDone, v) },
	"share": func(f *Fault, v string) (err error) {
		f.Share, err = strconv.ParseFloat(v, 64)
		return err
	},
	"from": func(f *Fault, v string) error { return scanInt(&f.From, v) },
	"to":   func(f *Fault, v string) error { return scanInt(&f.To, v) },
}

func scanInt(p *int, v string) (err error) {
	*p, err = strconv.Atoi(v)
	return err
}

func scanBool(p *bool, v string) (err error) {
	*p = true
	if v != "" {
		*p, err = strconv.ParseBool(v)
	}
	return err
}

func scanDuration(p *time.Duration, v string) (err error) {
	*p, err = time.ParseDuration(v)
	return err
}

func scanDurationAt(p *time.Duration, at *int, v string) error {
	length, token, found := strings.Cut(v, "@")
	*at = 1
	if found {
		if err := scanInt(at, token); err != nil {
			return err
		}
	}
	return scanDuration(p, length)
}

// ParseFault reads a fault from words separated by commas: status=503, message=text (the last word: it may hold
// commas), before-headers=1s, before-first=1s, stall=2s@5 (before token 5), freeze=2s@5, cut=reset@3, cut=close,
// cut=end@2, error=3 (-1 is before the first token), malformed=2, interval=4, join, comments, crlf, no-space, split=7, no-usage, no-done, share=0.1, from=10,
// to=20.
func ParseFault(text string) (Fault, error) {
	var f Fault
	for rest := strings.TrimSpace(text); rest != ""; {
		var word string
		if strings.HasPrefix(rest, "message=") {
			word, rest = rest, ""
		} else {
			word, rest, _ = strings.Cut(rest, ",")
			rest = strings.TrimSpace(rest)
		}
		key, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		set, ok := faultKeys[key]
		if !ok {
			var keys []string
			for k := range faultKeys {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			return Fault{}, fmt.Errorf("fault %q: no word %q: have %s", text, key, strings.Join(keys, ", "))
		}
		if err := set(&f, value); err != nil {
			return Fault{}, fmt.Errorf("fault %q: word %q: %w", text, word, err)
		}
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", text, err)
	}
	return f, nil
}

func (f *Fault) check() error {
	switch {
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d: must be from 400 to 599", f.Status)
	case f.Cut != "" && f.Cut != CutReset && f.Cut != CutClose && f.Cut != CutEnd:
		return fmt.Errorf("cut %q: have %s, %s, %s", f.Cut, CutReset, CutClose, CutEnd)
	case !(f.Share >= 0 && f.Share <= 1):
		return fmt.Errorf("share %v: must be from 0 to 1", f.Share)
	case f.Interval < 0 || f.Split < 0 || f.CutAt < 0 || f.MalformedAt < 0 || f.StallAt < 0 || f.FreezeAt < 0 || f.ErrorAt < -1:
		return fmt.Errorf("a number is negative")
	case f.BeforeHeaders < 0 || f.BeforeFirst < 0 || f.Stall < 0 || f.Freeze < 0:
		return fmt.Errorf("a duration is negative")
	}
	return nil
}

// strikes says whether the fault is for the request of this number. key is what the draw
// hangs on besides the seed.
func (f *Fault) strikes(number int, seed, key uint64) bool {
	if f.From > 0 && number < f.From || f.To > 0 && number > f.To {
		return false
	}
	return f.Share == 0 || float64(mix(seed^mix(key))>>11)/(1<<53) < f.Share
}

// mix is one draw of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
