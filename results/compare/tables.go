package compare

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
)

// JSON writes everything, curves included. What was not measured is absent.
func JSON(w io.Writer, r *Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// CSV writes one row a figure. What was not measured is empty.
func CSV(w io.Writer, r *Report) error {
	out := csv.NewWriter(w)
	write := func(cells ...string) {
		_ = out.Write(cells) // Flush keeps the error
	}
	write("baseline", "candidate", "match", "stage", "metric", "statistic", "unit", "baseline_value", "candidate_value", "difference",
		"difference_low", "difference_high", "ratio", "ratio_low", "ratio_high", "p", "p_adjusted", "verdict", "more_runs", "more_requests")
	for _, c := range r.Comparisons {
		rows := func(stage string, rows []*Row) {
			for _, row := range rows {
				low, high := bounds(row.DifferenceInterval)
				ratioLow, ratioHigh := bounds(row.RatioInterval)
				n := cmp.Or(row.Needs, &Needs{})
				write(c.Baseline.Name, c.Candidate.Name, describe(c.Match), stage, row.Metric, row.Statistic, row.Unit, number(&row.Baseline), number(&row.Candidate),
					number(&row.Difference), low, high, number(row.Ratio), ratioLow, ratioHigh, number(row.P), number(row.Adjusted), string(row.Verdict), count(n.Runs), count(n.Requests))
			}
		}
		rows("", c.Rows)
		for _, s := range c.Stages {
			rows(s.Name, s.Rows)
		}
	}
	out.Flush()
	return out.Error()
}

func bounds(i *Interval) (low, high string) {
	if i == nil {
		return "", ""
	}
	return number(&i.Low), number(&i.High)
}

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
