package report

import (
	"fmt"
	"time"

	"servebench/results"
	"servebench/results/summary"
)

// StallNames are the kinds of stall in words.
var StallNames = map[summary.StallKind]string{
	summary.ServerStall:  "all streams at once",
	summary.GroupStall:   "several streams at once",
	summary.RequestStall: "one stream alone",
	summary.ClientStall:  "tokens read late",
	summary.LoneStall:    "the only stream",
}

// stalls prints what held streams up, in a line each.
func (t *table) stalls(s *summary.Summary) {
	st := s.Stalls
	if st == nil {
		return
	}
	t.title("Stalls", "-")
	if st.Gaps == 0 {
		t.text("Stalls:", fmt.Sprintf("none in %d streams", st.Streams))
		return
	}
	for _, k := range st.Kinds {
		t.text(fmt.Sprintf("%s (%s):", StallNames[k.Kind], k.Kind), fmt.Sprintf("%d, longest %.1f ms, %.3f s lost", k.Count, float64(k.Longest)/1e6, k.Lost.Seconds()))
	}
	if st.Unclassed > 0 {
		t.text("Long gaps too many to class:", fmt.Sprintf("%d, the shortest", st.Unclassed))
	}
	if !st.ClientTold {
		t.line("  without kernel stamps the client's own stalls count as the server's")
	}
	w := st.Worst[0]
	t.text("Worst:", fmt.Sprintf("%s%.1f ms, %d of %d streams, request %d", since(s, w.At), float64(w.Length)/1e6, w.Streams, w.Open, w.Request))
}

// since is a moment of the load in words; nothing where its beginning is not known.
func since(s *summary.Summary, at results.Moment) string {
	d, ok := at.Sub(s.Manifest.Began)
	if !ok {
		return ""
	}
	return fmt.Sprintf("at %.3f s: ", d.Seconds())
}

type stalls struct {
	Factor     float64     `json:"factor"`
	Least      float64     `json:"least_ms"`
	Streams    int         `json:"streams"`
	Short      int         `json:"streams_too_short"`
	Gaps       int         `json:"long_gaps"`
	Unclassed  int         `json:"unclassed_gaps,omitempty"`
	ClientTold bool        `json:"client_told_apart"`
	Kinds      []stallKind `json:"kinds"`
	Worst      []stall     `json:"worst"`
}

type stallKind struct {
	Kind    summary.StallKind `json:"kind"`
	Count   int               `json:"count"`
	Gaps    int               `json:"long_gaps"`
	Lost    float64           `json:"lost_s"`
	Longest float64           `json:"longest_ms"`
}

type stall struct {
	Kind    summary.StallKind `json:"kind"`
	At      string            `json:"at"`
	Since   *float64          `json:"since_began_s,omitempty"`
	Length  float64           `json:"length_ms"`
	Streams int               `json:"streams"`
	Open    int               `json:"open_streams"`
	Request int               `json:"request"`
	Lost    float64           `json:"lost_s"`
}

func stallsOf(s *summary.Summary) *stalls {
	st := s.Stalls
	if st == nil {
		return nil
	}
	out := &stalls{
		Factor: summary.StallFactor, Least: float64(summary.StallLeast) / float64(time.Millisecond), Streams: st.Streams, Short: st.Short,
		Gaps: st.Gaps, Unclassed: st.Unclassed, ClientTold: st.ClientTold, Kinds: []stallKind{}, Worst: []stall{},
	}
	for _, k := range st.Kinds {
		out.Kinds = append(out.Kinds, stallKind{k.Kind, k.Count, k.Gaps, k.Lost.Seconds(), float64(k.Longest) / 1e6})
	}
	for _, w := range st.Worst {
		row := stall{w.Kind, stamp(w.At), nil, float64(w.Length) / 1e6, w.Streams, w.Open, w.Request, w.Lost.Seconds()}
		if d, ok := w.At.Sub(s.Manifest.Began); ok {
			row.Since = new(d.Seconds())
		}
		out.Worst = append(out.Worst, row)
	}
	return out
}
