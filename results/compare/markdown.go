package compare

import (
	"io"
	"strings"
)

// Markdown writes the report for a page or a ticket.
func Markdown(w io.Writer, r *Report) error {
	p := &printer{w: w}
	for _, c := range r.Comparisons {
		p.line("## %s", cell(c.name()))
		p.line("")
		for _, f := range c.Findings {
			p.line("> **%s:** %s", f.Severity, cell(f.Text))
			p.line(">")
		}
		if len(c.Findings) > 0 {
			p.line("")
		}
		p.markdownRows(c.Baseline.Name, c.Candidate.Name, c.Rows)
		for _, text := range c.LeftOut {
			p.line("Left out: %s.", cell(text))
			p.line("")
		}
		for _, s := range c.Stages {
			p.line("### Stage %s", cell(s.Name))
			p.line("")
			p.markdownRows(c.Baseline.Name, c.Candidate.Name, s.Rows)
		}
	}
	if len(r.Gates) > 0 {
		p.line("| gate | outcome | comparison | |")
		p.line("|---|---|---|---|")
		for _, g := range r.Gates {
			p.line("| %s | %s | %s | %s |", cell(g.Gate), g.Outcome, cell(g.Comparison), cell(g.Text))
		}
		p.line("")
	}
	for _, n := range r.Notes {
		p.line("- %s", cell(n))
	}
	return p.err
}

func (p *printer) markdownRows(a, b string, rows []*Row) {
	p.line("| | | %s | %s | change | interval | verdict |", cell(a), cell(b))
	p.line("|---|---|---:|---:|---:|---|---|")
	for _, row := range rows {
		verdict := string(row.Verdict)
		switch row.Verdict {
		case Better, Worse:
			verdict = "**" + verdict + "**"
		}
		if row.Needs != nil {
			verdict += ": needs " + row.Needs.String()
		}
		change, interval := row.change()
		p.line("| %s (%s) | %s | %s | %s | %s | %s | %s |", cell(row.Label), row.shownUnit(), row.Statistic, row.shown(row.Baseline), row.shown(row.Candidate), change, interval, verdict)
	}
	p.line("")
}

// cell is text that breaks no Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\\", `\\`).Replace(printable(text))
}
