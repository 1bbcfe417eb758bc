package scenario

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"servebench/loadgen/server"
	"servebench/results"
)

// Machines that share a load have clocks of their own. Latencies take both their ends from one of them and do not
// care; when requests arrived against each other does. So each shard notes how far other clocks are ahead of its own, with
// bounds, and the merge compares.

// ntpTries is how often a time server is asked; the quickest answer tells most.
const ntpTries = 8

// dateTries is how often the server under test is asked for its date, spread over a second.
const dateTries = 12

var dateSpread = time.Second // tests have less time

// dateStale is how old a Date header may be: servers make it once a second and keep it.
const dateStale = time.Second

// clockOffsets asks every clock there is: the kernel's own estimate, the time server given, the server under test. What cannot
// be told is left out; err says why the one that was asked for could not.
func clockOffsets(ctx context.Context, now func() results.Moment, target server.Target, reference string) (offsets []results.ClockOffset, err error) {
	if within, ok := kernelClockError(); ok {
		offsets = append(offsets, results.ClockOffset{Reference: "utc", Within: within, Note: "the kernel's own bound, as its time service set it"})
	}
	if reference != "" {
		o, ntpErr := ntpOffset(ctx, now, reference)
		if ntpErr != nil {
			err = fmt.Errorf("the time server %s: %w", reference, ntpErr)
		} else {
			offsets = append(offsets, o)
		}
	}
	if o, ok := dateOffset(ctx, now, target); ok {
		offsets = append(offsets, o)
	}
	return offsets, err
}

// dateOffset bounds the server's clock by the Date of its answers, which have whole seconds: each answer says that the
// server's clock stood within that second, or the one after it, at some moment of the exchange.
func dateOffset(ctx context.Context, now func() results.Moment, target server.Target) (results.ClockOffset, bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := target.Client
	if client == nil {
		client = http.DefaultClient
	}
	var low, high time.Duration
	found := false
	tick := time.NewTicker(dateSpread / dateTries)
	defer tick.Stop()
	for range dateTries {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.URL("/health"), nil)
		if err != nil {
			return results.ClockOffset{}, false
		}
		for key, values := range target.Headers {
			request.Header[http.CanonicalHeaderKey(key)] = values
		}
		sent := now()
		response, err := client.Do(request)
		came := now()
		if err != nil {
			return results.ClockOffset{}, false
		}
		response.Body.Close()
		date, err := http.ParseTime(response.Header.Get("Date"))
		if err != nil {
			return results.ClockOffset{}, false
		}
		second := results.Moment(date.UnixNano())
		least, most := time.Duration(second-came), time.Duration(second-sent)+time.Second+dateStale
		if !found {
			low, high, found = least, most, true
		}
		low, high = max(low, least), min(high, most)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return results.ClockOffset{}, false
		}
	}
	if low > high {
		return results.ClockOffset{}, false // a step in the meantime
	}
	return results.ClockOffset{
		Reference: "server", Offset: low + (high-low)/2, Within: (high-low)/2 + 1,
		Note: "the Date of the server's answers, which has whole seconds",
	}, true
}

// ntpEpoch is 1900 in Unix seconds.
const ntpEpoch = -2_208_988_800

// ntpOffset asks a time server (RFC 5905, client mode). Its answer was made between our sending and our receiving: the offset is
// known to half of what the way there and back took.
func ntpOffset(ctx context.Context, now func() results.Moment, address string) (best results.ClockOffset, err error) {
	if _, _, splitErr := net.SplitHostPort(address); splitErr != nil {
		address = net.JoinHostPort(address, "123")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return best, err
	}
	defer conn.Close()
	found := false
	for range ntpTries {
		deadline := time.Now().Add(time.Second)
		if err := conn.SetDeadline(deadline); err != nil {
			return best, err
		}
		o, askErr := askNTP(conn, now)
		if askErr != nil {
			err = askErr
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if !found || o.Within < best.Within {
			best, found = o, true
		}
	}
	if !found {
		return best, err
	}
	best.Reference = "ntp " + address
	best.Note = "half of the shortest way there and back"
	return best, nil
}

// askNTP is one exchange with a time server.
func askNTP(conn net.Conn, now func() results.Moment) (results.ClockOffset, error) {
	var ask, answer [48]byte
	ask[0] = 4<<3 | 3                                // version 4, client
	if _, err := rand.Read(ask[40:48]); err != nil { // comes back as it is: an answer to another question shows
		return results.ClockOffset{}, err
	}
	sent := now()
	if _, err := conn.Write(ask[:]); err != nil {
		return results.ClockOffset{}, err
	}
	n, err := conn.Read(answer[:])
	came := now()
	switch {
	case err != nil:
		return results.ClockOffset{}, err
	case n < len(answer) || answer[0]&7 != 4:
		return results.ClockOffset{}, errors.New("the answer is not one of a time server")
	case [8]byte(answer[24:32]) != [8]byte(ask[40:48]):
		return results.ClockOffset{}, errors.New("the answer is to another question")
	case answer[0]>>6 == 3 || answer[1] == 0 || answer[1] > 15:
		return results.ClockOffset{}, errors.New("the time server does not know the time itself")
	}
	received, transmitted := ntpTime(answer[32:40]), ntpTime(answer[40:48])
	delay := time.Duration(came-sent) - time.Duration(transmitted-received)
	offset := (time.Duration(received-sent) + time.Duration(transmitted-came)) / 2
	return results.ClockOffset{Offset: offset, Within: max(delay, 0)/2 + time.Microsecond}, nil
}

// ntpTime is a time stamp of 32 bits of seconds and 32 of their fraction; seconds before 1968 are of the era that begins in 2036.
func ntpTime(b []byte) results.Moment {
	seconds, fraction := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return results.Moment((seconds+ntpEpoch)*1e9 + fraction*1e9>>32)
}
