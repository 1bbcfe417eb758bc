package report

import (
	"encoding/csv"
	"io"
	"strconv"

	"servebench/results"
	"servebench/results/summary"
)

// A requestColumn is one fact about a request in tables that have a row a request. docs/requests.md lists them.
type requestColumn struct {
	name string
	// kind is a value of the column's type: int64(0), 0.0, "" or false.
	kind any
	// value is the request's; nil when it has none.
	value func(rec *results.Record) any
}

// requestColumns are those of a table that counts from basis b: moments in nanoseconds of Unix time, and the metrics that have one value
// a request, in milliseconds.
func requestColumns(b results.Basis) []requestColumn {
	number := func(name string, value func(*results.Record) int) requestColumn {
		return requestColumn{name, int64(0), func(rec *results.Record) any { return int64(value(rec)) }}
	}
	text := func(name string, value func(*results.Record) string) requestColumn {
		return requestColumn{name, "", func(rec *results.Record) any {
			if v := value(rec); v != "" {
				return v
			}
			return nil
		}}
	}
	moment := func(name string, value func(*results.Record) results.Moment) requestColumn {
		return requestColumn{name, int64(0), func(rec *results.Record) any {
			if v := value(rec); v != 0 {
				return int64(v)
			}
			return nil
		}}
	}
	known := func(n int, ok bool) any {
		if !ok {
			return nil
		}
		return int64(n)
	}
	event := func(rec *results.Record, i int) results.Moment {
		if len(rec.Chunks) == 0 {
			return 0
		}
		return rec.Chunks[(i+len(rec.Chunks))%len(rec.Chunks)].At
	}
	columns := []requestColumn{
		number("id", func(r *results.Record) int { return r.ID }),
		text("kind", func(r *results.Record) string { return string(r.Kind) }),
		text("request_id", func(r *results.Record) string { return r.RequestID }),
		text("model", func(r *results.Record) string { return r.Model }),
		number("stage", func(r *results.Record) int { return r.Stage }),
		number("user", func(r *results.Record) int { return r.User }),
		number("turn", func(r *results.Record) int { return r.Turn }),
		{"ok", false, func(r *results.Record) any { return r.OK() }},
		{"status", int64(0), func(r *results.Record) any { return known(r.Status, r.Status != 0) }},
		text("failure", func(r *results.Record) string {
			if r.OK() {
				return ""
			}
			return r.Failure.Class
		}),
		text("message", func(r *results.Record) string {
			if r.OK() {
				return ""
			}
			return oneLine(r.Failure.Message)
		}),
		text("finish", func(r *results.Record) string { return r.Finish }),
		{"input_tokens", int64(0), func(r *results.Record) any {
			if r.Usage != nil {
				return int64(r.Usage.Prompt)
			}
			return known(r.InputTokens, r.InputTokens >= 0)
		}},
		{"cached_tokens", int64(0), func(r *results.Record) any {
			if r.Usage == nil {
				return nil
			}
			return known(r.Usage.Cached, r.Usage.Cached >= 0)
		}},
		{"asked_tokens", int64(0), func(r *results.Record) any { return known(r.AskedTokens, r.AskedTokens > 0) }},
		{"output_tokens", int64(0), func(r *results.Record) any { return known(r.Tokens()) }},
		number("events", func(r *results.Record) int { return len(r.Chunks) }),
		moment("due_ns", func(r *results.Record) results.Moment { return r.Due }),
		moment("released_ns", func(r *results.Record) results.Moment { return r.Released }),
		moment("dispatched_ns", func(r *results.Record) results.Moment { return r.Dispatched }),
		moment("written_ns", func(r *results.Record) results.Moment { return r.Written }),
		moment("headers_ns", func(r *results.Record) results.Moment { return r.Headers }),
		moment("first_event_ns", func(r *results.Record) results.Moment { return event(r, 0) }),
		moment("last_event_ns", func(r *results.Record) results.Moment { return event(r, -1) }),
		moment("done_ns", func(r *results.Record) results.Moment { return r.Done }),
	}
	for i := range results.Metrics {
		m := &results.Metrics[i]
		if m.PerEvent {
			continue
		}
		columns = append(columns, requestColumn{m.Name + "_ms", 0.0, func(r *results.Record) any {
			if v, ok := m.Value(r, b); ok && (r.OK() || m.Failures) {
				return float64(v) / 1e6
			}
			return nil
		}})
	}
	return columns
}

// RequestsCSV writes one row a request, warm-ups and probes too. What was not measured is empty.
func RequestsCSV(w io.Writer, s *summary.Summary, records Records) error {
	out := csv.NewWriter(w)
	columns := requestColumns(s.Basis)
	row := make([]string, len(columns))
	for i, c := range columns {
		row[i] = c.name
	}
	if err := out.Write(row); err != nil {
		return err
	}
	for rec, err := range records {
		if err != nil {
			return err
		}
		for i, c := range columns {
			switch v := c.value(rec).(type) {
			case nil:
				row[i] = ""
			case string:
				row[i] = v
			case int64:
				row[i] = strconv.FormatInt(v, 10)
			case float64:
				row[i] = number(v)
			case bool:
				row[i] = strconv.FormatBool(v)
			}
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
