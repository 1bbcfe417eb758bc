package page

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/url"
)

// An Opener is a page with a button that opens a trace in the Perfetto UI. The UI gets the trace from the page itself, by a message between
// two windows: nothing is uploaded anywhere, and the UI needs no way to this machine.
type Opener struct {
	// Title names the trace.
	Title string
	// Trace is the address of the file, FileName what to call it, Bytes its size.
	Trace, FileName string
	Bytes           int64
	// Perfetto is the address of the UI.
	Perfetto string
	// Back is the address of the run's page; empty for a trace on its own.
	Back string
}

// DefaultPerfetto is the public Perfetto UI.
const DefaultPerfetto = "https://ui.perfetto.dev"

// CheckPerfetto says whether an address can be that of a UI.
func CheckPerfetto(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no address of a Perfetto UI: want one such as %s", address, DefaultPerfetto)
	}
	return nil
}

// WriteOpener writes the page.
func WriteOpener(w io.Writer, o Opener) error {
	if err := CheckPerfetto(o.Perfetto); err != nil {
		return err
	}
	u, _ := url.Parse(o.Perfetto)
	data, err := json.Marshal(map[string]string{
		"title": o.Title, "trace": o.Trace, "fileName": o.FileName, "perfetto": o.Perfetto, "origin": u.Scheme + "://" + u.Host,
	})
	if err != nil {
		return err
	}
	body := struct {
		Opener
		Host string
		MB   float64
		Data template.JS
	}{o, u.Host, float64(o.Bytes) / 1e6, template.JS(data)}
	s := shellOf("Trace of "+o.Title, body, asset("open.js"))
	s.Policy += "; connect-src 'self'"
	return templates().ExecuteTemplate(w, "open.html", s)
}
