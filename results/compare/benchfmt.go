package compare

import (
	"io"
	"slices"
	"strings"

	"servebench/results"
)

// Benchfmt writes every run as a line of Go's benchmark format for each metric, so that benchstat can check our figures:
//
//	benchstat -col /group FILE
//
// The iterations are the requests that completed. Percentiles with not one value beyond them are left out.
func Benchfmt(w io.Writer, r *Report) error {
	p := &printer{w: w}
	for _, unit := range r.units() {
		p.line("Unit %s better=%s", unit.name, map[bool]string{true: "higher", false: "lower"}[unit.higherIsBetter])
	}
	p.line("")
	for _, g := range r.groups {
		for _, run := range g.Runs {
			for _, name := range r.order {
				if values := r.benchValues(run, name); len(values) > 0 {
					suffix := ""
					for _, field := range r.match {
						suffix += "/" + word(field) + "=" + word(run.Field(field))
					}
					p.line("BenchmarkServe/metric=%s/group=%s%s %d %s", name, word(g.Name), suffix, max(run.Completed, 1), strings.Join(values, " "))
				}
			}
		}
	}
	return p.err
}

type unit struct {
	name           string
	higherIsBetter bool
}

func (r *Report) units() []unit {
	list := []unit{{"mean-ms", false}}
	for _, at := range r.percentiles {
		list = append(list, unit{percentileName(at) + "-ms", false})
	}
	for i := range rates {
		if slices.Contains(r.order, rates[i].name) {
			if u := (unit{benchUnit(&rates[i]), !rates[i].lowerIsBetter}); !slices.Contains(list, u) {
				list = append(list, u)
			}
		}
	}
	return list
}

// benchUnit is a unit without blanks; each share has its own, since one is better low and the other high.
func benchUnit(r *rate) string {
	if r.unit == "share" {
		return r.name
	}
	return r.unit
}

// benchValues are a run's figures of one metric with their units.
func (r *Report) benchValues(run *Run, name string) (out []string) {
	add := func(v float64, unit string) { out = append(out, number(&v)+" "+unit) }
	if _, ok := results.MetricNamed(name); ok {
		var s *spread
		n := run.Completed
		if values := run.series[name]; values != nil {
			s = spreadOf(len(run.rows), values.values, values.offsets, r.percentiles)
			n = len(values.values)
		}
		value := func(statistic, unit string, of func() figure) {
			if s != nil {
				add(of().value(), unit)
			} else if v, ok := run.stated[name+" "+statistic]; ok {
				add(v, unit)
			}
		}
		value("mean", "mean-ms", func() figure { return s.sum })
		for _, at := range r.percentiles {
			if beyond(n, at) >= 1 {
				value(percentileName(at), percentileName(at)+"-ms", func() figure { return s.quantile(at) })
			}
		}
		return out
	}
	for i := range rates {
		if rates[i].name != name {
			continue
		}
		if f := rates[i].of(run); f != nil {
			add(f.value(), benchUnit(&rates[i]))
		} else if v, ok := run.stated[name+" "+rateStatistic]; ok {
			add(v, benchUnit(&rates[i]))
		}
	}
	return out
}

// word is text that the benchmark format takes as part of a name.
func word(text string) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == '=' || r == 0x7f {
			return '_'
		}
		return r
	}, printable(text))
	if text == "" {
		return "none"
	}
	return text
}
