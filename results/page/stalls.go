package page

import (
	"fmt"
	"strconv"
	"time"

	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// A stallView is what held streams up, in words and tables.
type stallView struct {
	Says         string
	Kinds, Worst answerTable
}

// stallsOf is nil where nothing was measured.
func stallsOf(s *summary.Summary, began results.Moment) *stallView {
	st := s.Stalls
	if st == nil {
		return nil
	}
	v := &stallView{Says: fmt.Sprintf("A gap is long above %d times what is usual in its stream, %s ms at least.", summary.StallFactor, nanos(int64(summary.StallLeast)))}
	if st.Gaps == 0 {
		v.Says += " There was none."
	}
	if !st.ClientTold {
		v.Says += " Without kernel stamps the client's own stalls count as the server's."
	}
	v.Kinds = answerTable{Title: "Stalls", Head: []string{"kind", "stalls", "longest ms", "lost s, all streams"}, Texts: 1}
	for _, k := range st.Kinds {
		v.Kinds.Rows = append(v.Kinds.Rows, []string{string(k.Kind) + ": " + report.StallNames[k.Kind], count(k.Count), nanos(int64(k.Longest)), fixed(3, k.Lost.Seconds())})
	}
	if st.Unclassed > 0 {
		v.Kinds.Note = fmt.Sprintf("%s more gaps were too many to class, the shortest.", count(st.Unclassed))
	}
	v.Worst = answerTable{Title: "The worst, marked on the map", Head: []string{"kind", "at s", "ms", "streams", "of", "request"}, Texts: 1}
	for _, w := range st.Worst {
		v.Worst.Rows = append(v.Worst.Rows, []string{
			string(w.Kind), fixed(3, time.Duration(w.At-began).Seconds()), nanos(int64(w.Length)), count(w.Streams), count(w.Open), strconv.Itoa(w.Request),
		})
	}
	return v
}
