package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servebench/profiles/merge"
	"servebench/results"
	"servebench/results/page"
)

// viewRun makes a small run in a folder.
func viewRun(t *testing.T, dir string, created results.Moment) {
	t.Helper()
	w, err := results.Create(dir, results.Manifest{Created: created, Basis: results.Service, Settings: results.Settings{ModelID: "a/model"}})
	if err != nil {
		t.Fatal(err)
	}
	at := created
	for i := range 40 {
		at = at.Add(10 * time.Millisecond)
		rec := &results.Record{ID: i, Kind: results.Load, InputTokens: 4, Due: at, Released: at, Dispatched: at}
		rec.Written, rec.Headers, rec.OutputTokens = at+1000, at+2000, 2
		rec.Chunks = []results.Chunk{{At: at.Add(time.Duration(5+i%7) * time.Millisecond), Tokens: 1}, {At: at.Add(20 * time.Millisecond), Tokens: 1}}
		rec.Done, rec.Status, rec.EndMarked = at.Add(21*time.Millisecond), 200, true
		if err := w.Record(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Update(func(m *results.Manifest) { m.Began, m.Ended = created, at.Add(30*time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(results.OK, ""); err != nil {
		t.Fatal(err)
	}
}

const viewMoment = results.Moment(1_700_000_000_000_000_000)

func viewFolder(t *testing.T) *viewer {
	dir := t.TempDir()
	viewRun(t, filepath.Join(dir, "first"), viewMoment)
	viewRun(t, filepath.Join(dir, "sweep", "rate <4>"), viewMoment+1e12)
	for name, text := range map[string]string{
		filepath.Join("first", merge.FileName): "a trace", "secret.txt": "a secret", filepath.Join("broken", results.ManifestFile): "{",
		filepath.Join(".hidden", results.ManifestFile): "{",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return &viewer{dir: dir, perfetto: page.DefaultPerfetto, briefs: map[string]brief{}}
}

func viewed(v *viewer, method, target, host string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	return w
}

func TestView(t *testing.T) {
	v := viewFolder(t)
	for _, tc := range []struct {
		method, target, host string
		status               int
		has, hasNot          string
	}{
		{"GET", "/", "127.0.0.1:80", 200, `href="/run/sweep/rate%20%3C4%3E"`, "<li>.hidden"},
		{"GET", "/", "localhost", 200, "<li>broken:", "rate <4>"},
		{"GET", "/", "[::1]:9", 200, `<a href="/open/first">`, "/open/sweep"},
		{"HEAD", "/", "localhost", 200, "", ""},
		{"GET", "/", "evil.example", 403, "not the address", "first"},
		{"GET", "/", "127.0.0.1.evil.example:80", 403, "not the address", "first"},
		{"POST", "/", "localhost", 405, "only shows", "first"},
		{"GET", "/run/first", "localhost", 200, `href="/open/first"`, ""},
		{"GET", "/run/first/", "localhost", 404, "", ""},
		{"GET", "/run/sweep/rate%20%3C4%3E", "localhost", 200, "a/model", `id="perfetto"`},
		{"GET", "/run/none", "localhost", 404, "no such page", ""},
		{"GET", "/run/sweep", "localhost", 404, "no such page", ""},
		{"GET", "/run/../secret.txt", "localhost", 404, "", "a secret"},
		{"GET", "/trace/..%2f..", "localhost", 404, "", ""},
		{"GET", "/secret.txt", "localhost", 404, "", "a secret"},
		{"GET", "/run/broken", "localhost", 500, results.ManifestFile, ""},
		{"GET", "/open/first", "localhost", 200, "ui.perfetto.dev", ""},
		{"GET", "/open/sweep/rate%20%3C4%3E", "localhost", 404, "no such page", ""},
		{"GET", "/trace/first", "localhost", 200, "a trace", ""},
		{"GET", "/compare?run=first&run=sweep/rate+%3C4%3E", "localhost", 200, "rate &lt;4&gt; against first", ""},
		{"GET", "/compare?run=sweep/rate+%3C4%3E&run=first", "localhost", 200, "rate &lt;4&gt; against first", ""},
		{"GET", "/compare?run=first", "localhost", 400, "tick two", ""},
		{"GET", "/compare?run=first&run=../x", "localhost", 404, "", ""},
	} {
		w := viewed(v, tc.method, tc.target, tc.host)
		body := w.Body.String()
		if w.Code != tc.status || !strings.Contains(body, tc.has) || tc.hasNot != "" && strings.Contains(body, tc.hasNot) {
			t.Errorf("%s %s at %s: status %d, want %d with %q and without %q:\n%.600s", tc.method, tc.target, tc.host, w.Code, tc.status, tc.has, tc.hasNot, body)
		}
	}
	if w := viewed(v, "GET", "/trace/first", "localhost"); w.Header().Get("Content-Type") != "application/gzip" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("the trace came as %v", w.Header())
	}
}

// TestViewOfASeries reads the index that a sweep writes.
func TestViewOfASeries(t *testing.T) {
	v := viewFolder(t)
	const index = `{"schema":"servebench.index/1","kind":"sweep","name":"rates","points":[
		{"number":1,"name":"load.rate=4","runs":1,"met":false,"figures":{"requests":40,"completed":40,"failed":0,"request_throughput":4.5,"latency_ms":{"ttft":{"p50":7.25,"p99":9}},"client":"degraded"}}],
		"runs":[{"position":1,"point":1,"repeat":1,"folder":"rate <4>","status":"ok"},{"position":2,"point":1,"repeat":2,"folder":"x","status":"pending"}],
		"curves":[{"x":"request_throughput","metric":"ttft","statistic":"p99","points":[{"point":1,"x":4.5,"y":9}],"pareto":[1]}],
		"knees":[{"point":1,"text":"a knee"}],"search":{"text":"the answer"},"notes":["a doubt"]}`
	if err := os.WriteFile(filepath.Join(v.dir, "sweep", "index.json"), []byte(index), 0o666); err != nil {
		t.Fatal(err)
	}
	if w := viewed(v, "GET", "/", "localhost"); !strings.Contains(w.Body.String(), `<a href="/series/sweep">sweep</a>`) {
		t.Error("the list has no series")
	}
	w := viewed(v, "GET", "/series/sweep", "localhost")
	for _, text := range []string{
		"rates", "1 of 2 ended", "the answer", "a knee", "a doubt", "knee, misses a bound, client degraded", `<td class="n">4.50</td>`, `<td class="n">7.25</td>`,
		`<a href="/run/sweep/rate%20%3C4%3E">1</a>`,
	} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), text) {
			t.Errorf("status %d without %q", w.Code, text)
		}
	}
	for _, target := range []string{"/series/first", "/series/../x", "/series/"} {
		if w := viewed(v, "GET", target, "localhost"); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", target, w.Code)
		}
	}
}

// TestViewOfOneRun leads to its page at once.
func TestViewOfOneRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "only")
	viewRun(t, dir, viewMoment)
	v := &viewer{dir: dir, perfetto: page.DefaultPerfetto, briefs: map[string]brief{}}
	if w := viewed(v, "GET", "/", "localhost"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/run/" {
		t.Errorf("status %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := viewed(v, "GET", "/run/", "localhost"); w.Code != 200 || strings.Contains(w.Body.String(), "All runs") {
		t.Errorf("status %d", w.Code)
	}
}

// TestViewListsANewRun reads the folder again at every look, and a run again when its manifest has changed.
func TestViewListsANewRun(t *testing.T) {
	v := viewFolder(t)
	viewed(v, "GET", "/", "localhost")
	viewRun(t, filepath.Join(v.dir, "late"), viewMoment+2e12)
	if w := viewed(v, "GET", "/", "localhost"); !strings.Contains(w.Body.String(), `href="/run/late"`) {
		t.Error("a new run is not listed")
	}
	if len(v.briefs) != 3 {
		t.Errorf("%d lines are remembered", len(v.briefs))
	}
}

// TestSavedPage is the served one but for where its trace leads.
func TestSavedPage(t *testing.T) {
	v := viewFolder(t)
	dir := filepath.Join(v.dir, "first")
	if err := savePage(dir); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(filepath.Join(dir, page.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(saved), `href="`+merge.FileName+`" download`) || strings.Contains(string(saved), "All runs") {
		t.Error("a saved page must lead to the file beside it")
	}
	_, served, _ := strings.Cut(viewed(v, "GET", "/run/first", "localhost").Body.String(), `<section id="summary">`)
	served, _, _ = strings.Cut(served, "</section>")
	if !strings.Contains(string(saved), served) {
		t.Error("the saved summary is not the served one")
	}
}

func TestViewEnds(t *testing.T) {
	dir := t.TempDir()
	var talk bytes.Buffer
	if err := view(t.Context(), &talk, dir, viewFlags{noOpen: true, perfetto: page.DefaultPerfetto, idle: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(talk.String(), "nobody looked for 1ns") {
		t.Errorf("an idle view said %q", talk.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	said, tell := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer tell.Close()
		ended <- view(ctx, tell, dir, viewFlags{noOpen: true, perfetto: page.DefaultPerfetto, idle: time.Hour})
	}()
	var address string
	if _, err := fmt.Fscanf(said, "view: %s", &address); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, said)
	reply, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if err != nil || !strings.Contains(string(text), "No run was found here") {
		t.Errorf("an empty folder: %v, %.200s", err, text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestViewRefuses(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"view", "accepts 1 arg"}, {"view /no/such/folder", "is no folder"}, {"view --perfetto x .", "no address of a Perfetto UI"}, {"view --idle 0s .", "above zero"},
	} {
		cmd := viewCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(strings.Fields(tc.args)[1:])
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.args, err, tc.want)
		}
	}
}
