package trace

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Check reads a trace the way a strict parser does and says where it is not JSON, or no
// trace: every event an object with ph, times that are numbers, slices with a duration. It
// returns the number of events. It shares no code with the reader, so that it can judge
// what the writers of this package made.
func Check(r io.Reader) (events int64, err error) {
	t := newTally(r)
	plain, _, closer, err := decoder(t)
	if err != nil {
		return 0, err
	}
	defer closer()
	// Profilers do repeat keys inside args; parsers take the last one.
	d := jsontext.NewDecoder(plain, jsontext.AllowDuplicateNames(true))
	switch d.PeekKind() {
	case '[':
		if events, err = checkEvents(d); err != nil {
			return events, err
		}
	case '{':
		if _, err := d.ReadToken(); err != nil {
			return 0, err
		}
		found := false
		for d.PeekKind() == '"' {
			key, err := d.ReadToken()
			if err != nil {
				return events, err
			}
			if key.String() != "traceEvents" {
				if err := d.SkipValue(); err != nil {
					return events, err
				}
				continue
			}
			found = true
			n, err := checkEvents(d)
			events += n
			if err != nil {
				return events, err
			}
		}
		if _, err := d.ReadToken(); err != nil {
			return events, err
		}
		if !found {
			return events, errors.New("no traceEvents")
		}
	default:
		if _, err := d.ReadToken(); err != nil {
			return 0, err
		}
		return 0, errors.New("neither an object nor an array")
	}
	if _, err := d.ReadToken(); err != io.EOF {
		if err == nil {
			err = errors.New("text after the end")
		}
		return events, err
	}
	return events, nil
}

func checkEvents(d *jsontext.Decoder) (events int64, err error) {
	if d.PeekKind() != '[' {
		return 0, errors.New("traceEvents is no array")
	}
	if _, err := d.ReadToken(); err != nil {
		return 0, err
	}
	for d.PeekKind() != ']' {
		if d.PeekKind() != '{' {
			if _, err := d.ReadToken(); err != nil {
				return events, err
			}
			return events, fmt.Errorf("event %d is no object", events)
		}
		if err := checkEvent(d); err != nil {
			return events, fmt.Errorf("event %d, byte %d: %w", events, d.InputOffset(), err)
		}
		events++
	}
	_, err = d.ReadToken()
	return events, err
}

func checkEvent(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	kinds := map[string]jsontext.Kind{}
	phase := ""
	for d.PeekKind() == '"' {
		key, err := d.ReadToken()
		if err != nil {
			return err
		}
		name := key.String()
		kinds[name] = d.PeekKind()
		if name == "ph" && kinds[name] == '"' {
			value, err := d.ReadToken()
			if err != nil {
				return err
			}
			phase = value.String()
			continue
		}
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	number := func(key string) bool { return kinds[key] == '0' || kinds[key] == '"' }
	switch {
	case len(kinds) == 0: // an empty event does no harm
	case phase == "":
		return errors.New("has no ph")
	case phase == "X" && !number("dur"):
		return errors.New("is a slice without dur")
	case phase != "M" && !number("ts"):
		return fmt.Errorf("has phase %s and no ts", phase)
	}
	return nil
}
