// Command browser opens every page of servebench in a headless Chromium, clicks and zooms in it, and fails on any error that the
// browser reports, on a request to anywhere but the page's own server, and on a page wider than a phone. It leaves pictures
// to look at.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// A look is a window and the colours that its user likes.
type look struct {
	name          string
	width, height int
	scale         float64
	phone         bool
	scheme        string
}

var looks = []look{
	{"light", 1280, 860, 1, false, "light"},
	{"dark", 1280, 860, 1, false, "dark"},
	{"phone", 390, 844, 2, true, "light"},
	{"phone-dark", 390, 844, 2, true, "dark"},
}

func main() {
	out := flag.String("out", "", "put pictures into this `folder`")
	program := flag.String("browser", "", "the `program`; by default a Chromium or Chrome that is found")
	base := flag.String("view", "", "`address` of servebench view, started with --perfetto at -perfetto")
	runs := flag.String("runs", "", "names of runs to look at, separated by commas")
	file := flag.String("file", "", "a report.html to open as a `file`")
	pairs := flag.String("compare", "", "`A+B`, two runs to compare; more separated by commas")
	series := flag.String("series", "", "`names` of sweeps to look at, separated by commas")
	perfetto := flag.String("perfetto", "", "listen at this `address` as the Perfetto UI")
	find := flag.Bool("find", false, "only say whether there is a browser: the status is 1 without one")
	flag.Parse()
	if *program == "" {
		*program = findBrowser()
	}
	if *program == "" {
		fmt.Println("skipped: no Chromium or Chrome on this machine")
		os.Exit(1)
	}
	if *find {
		return
	}
	if err := check(*program, *out, *base, *file, *perfetto, split(*runs, ","), split(*pairs, ","), split(*series, ",")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func findBrowser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// complaints gathers what the browser reports, in the order in which it does.
type complaints struct {
	own  string
	mu   sync.Mutex
	list []string
}

func (c *complaints) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, text)
}

func (c *complaints) take() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) == 0 {
		return nil
	}
	err := errors.New(strings.Join(c.list, "\n"))
	c.list = nil
	return err
}

func (c *complaints) hear(_, method string, params json.RawMessage) {
	var p struct {
		Type             string
		Args             []struct{ Value any }
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request struct{ URL string }
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	switch method {
	case "Runtime.exceptionThrown":
		c.add("exception: " + p.ExceptionDetails.Text + " " + p.ExceptionDetails.Exception.Description)
	case "Runtime.consoleAPICalled":
		if p.Type == "error" || p.Type == "warning" {
			c.add(fmt.Sprintf("console: %v", p.Args))
		}
	case "Log.entryAdded":
		if (p.Entry.Level == "error" || p.Entry.Level == "warning") && !strings.HasSuffix(p.Entry.URL, "/favicon.ico") {
			c.add("log: " + p.Entry.Text + " " + p.Entry.URL)
		}
	case "Network.requestWillBeSent":
		u := p.Request.URL
		if !strings.HasPrefix(u, c.own) && !strings.HasPrefix(u, "file:") && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "about:") {
			c.add("asked a stranger: " + u)
		}
	}
}

type checker struct {
	*browser
	*complaints
	out, base, file string
	perfetto        *perfetto
}

func split(text, by string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, by)
}

func check(program, out, base, file, perfettoAddress string, runs, compared, series []string) error {
	var pairs [][]string
	for _, text := range compared {
		pairs = append(pairs, strings.Split(text, "+"))
	}
	b, err := startBrowser(program)
	if err != nil {
		return err
	}
	defer b.close()
	c := &checker{browser: b, complaints: &complaints{own: base}, out: out, base: base, file: file}
	b.mu.Lock()
	b.heard = c.hear
	b.mu.Unlock()
	if out != "" {
		if err := os.MkdirAll(out, 0o777); err != nil {
			return err
		}
	}
	var errs []error
	step := func(name string, do func(*tab) error, l look) {
		t, err := b.open()
		if err == nil {
			err = t.look(l)
		}
		if err == nil {
			err = do(t)
		}
		if t != nil {
			t.close()
		}
		if err = errors.Join(err, c.take()); err != nil {
			errs = append(errs, fmt.Errorf("%s, %s: %w", name, l.name, err))
			fmt.Printf("FAIL %s, %s\n", name, l.name)
			return
		}
		fmt.Printf("ok   %s, %s\n", name, l.name)
	}
	for _, l := range looks {
		step("index", func(t *tab) error { return c.index(t, l) }, l)
		for _, name := range runs {
			step("run "+name, func(t *tab) error { return c.run(t, l, name) }, l)
		}
		for _, name := range series {
			step("series "+name, func(t *tab) error { return c.series(t, l, name) }, l)
		}
		for _, pair := range pairs {
			step("comparison of "+strings.Join(pair, " and "), func(t *tab) error { return c.compared(t, l, pair) }, l)
		}
	}
	if file != "" {
		step("file", c.opened, looks[0])
	}
	if perfettoAddress != "" {
		p, err := listenAsPerfetto(perfettoAddress)
		if err != nil {
			return err
		}
		defer p.close()
		c.perfetto = p
		c.complaints.own = "http://127.0.0.1" // the UI is another server
		for _, name := range runs {
			step("trace of "+name, func(t *tab) error { return c.trace(t, name) }, looks[0])
		}
	}
	return errors.Join(errs...)
}

func (c *checker) picture(t *tab, name, selector string) error {
	if c.out == "" {
		return nil
	}
	return t.picture(filepath.Join(c.out, name+".png"), selector)
}

// fits says that nothing reaches over the side of the window.
func fits(t *tab) error {
	var widths []int
	if err := t.eval("[document.documentElement.scrollWidth, innerWidth]", &widths); err != nil {
		return err
	}
	if widths[0] > widths[1] {
		return fmt.Errorf("the page is %d pixels wide, the window %d", widths[0], widths[1])
	}
	return nil
}

func (c *checker) index(t *tab, l look) error {
	if err := t.visit(c.base+"/", `document.readyState === "complete" && document.querySelector("#runs tbody tr")`); err != nil {
		return err
	}
	return errors.Join(fits(t), c.picture(t, "index-"+l.name, ""))
}

func (c *checker) run(t *tab, l look, name string) error {
	if err := t.visit(c.base+"/run/"+name, `document.documentElement.dataset.ready`); err != nil {
		return err
	}
	var drawn bool
	if err := t.eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, &drawn); err != nil {
		return err
	}
	errs := []error{fits(t), c.picture(t, name+"-"+l.name, "")}
	if l.name == "light" || l.name == "phone-dark" {
		for _, id := range []string{"summary", "trust", "failures", "latency", "time", "gaps", "requests", "server", "repeat"} {
			var there bool
			if t.eval(`document.getElementById("`+id+`") && !document.getElementById("`+id+`").hidden`, &there) == nil && there {
				errs = append(errs, c.picture(t, name+"-"+l.name+"-"+id, "#"+id))
			}
		}
	}
	if l.phone {
		return errors.Join(append(errs, c.touch(t, l, name))...)
	}
	return errors.Join(append(errs, c.zoom(t, l, name))...)
}

// series looks at the page of a sweep.
func (c *checker) series(t *tab, l look, name string) error {
	if err := t.visit(c.base+"/series/"+name, `document.documentElement.dataset.ready && document.querySelector("#charts canvas")`); err != nil {
		return err
	}
	var searches bool
	if err := t.eval(`!document.querySelector("#statistic")`, &searches); err != nil {
		return err
	}
	if searches {
		return errors.Join(fits(t), c.picture(t, "series-"+strings.ReplaceAll(name, "/", "-")+"-"+l.name, ""), t.click("#charts .u-over", .5, .5, 1))
	}
	return errors.Join(
		fits(t), c.picture(t, "series-"+strings.ReplaceAll(name, "/", "-")+"-"+l.name, ""), t.click(`#statistic [data-statistic="p50"]`, .5, .5, 1),
		t.wait(`/p50/.test(document.querySelector("#charts h3").textContent)`), t.click("#charts .u-over", .5, .5, 1),
	)
}

// compared ticks two runs in the list and compares them.
func (c *checker) compared(t *tab, l look, pair []string) error {
	if err := t.visit(c.base+"/", `document.readyState === "complete" && document.querySelector("#runs tbody tr")`); err != nil {
		return err
	}
	for _, name := range pair {
		if err := t.click(`#runs input[value="`+name+`"]`, .5, .5, 1); err != nil {
			return err
		}
	}
	if err := errors.Join(t.click("form button", .5, .5, 1), t.wait(`/^\/compare/.test(location.pathname)`), t.wait(`document.readyState === "complete"`)); err != nil {
		return err
	}
	name := "compare-" + strings.Join(pair, "-") + "-" + l.name
	var refused bool
	if err := t.eval(`Boolean(document.querySelector(".opener a.plain"))`, &refused); err != nil {
		return err
	}
	if refused {
		if err := errors.Join(c.picture(t, name+"-refused", ""), fits(t), t.click(".opener a.plain", .5, .5, 1)); err != nil {
			return err
		}
	}
	return errors.Join(
		t.wait(`document.documentElement.dataset.ready`), t.wait(`document.querySelectorAll(".pairs canvas").length >= 4`),
		fits(t), c.picture(t, name, ""),
	)
}

// zoom uses everything that a mouse can.
func (c *checker) zoom(t *tab, l look, name string) error {
	zoomed, whole := `document.documentElement.dataset.zoomed === "true"`, `document.documentElement.dataset.zoomed === "false"`
	var has struct{ Gaps, CDFs, Rows, Windows bool }
	if err := t.eval(`({Gaps: !!document.getElementById("heat"), CDFs: !!document.querySelector("#cdfs canvas"), Rows: !document.getElementById("requests").hidden, Windows: !!document.querySelector("#percentiles canvas")})`, &has); err != nil {
		return err
	}
	do := func(what string, errs ...error) error {
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	var errs []error
	add := func(what string, more ...error) { errs = append(errs, do(what, more...)) }
	add("drag on a chart of time", t.drag("#load .u-over", .3, .5, .6, .5), t.wait(zoomed))
	errs = append(errs, c.picture(t, name+"-"+l.name+"-zoomed", "#time"))
	add("double-click for the whole run", t.click("#load .u-over", .5, .5, 2), t.wait(whole))
	if has.CDFs {
		add("the tail of a distribution", t.click(`#scale [data-scale="tail"]`, .5, .5, 1),
			t.wait(`document.querySelector('#scale [data-scale="tail"]').getAttribute("aria-pressed") === "true"`),
			t.click("#cdfs .u-over", .7, .5, 1))
		errs = append(errs, c.picture(t, name+"-"+l.name+"-tail", "#latency"))
		add("zoom into a distribution", t.drag("#cdfs .u-over", .2, .5, .5, .5))
	}
	if has.Windows {
		add("percentiles on a scale of ratios", t.click(`#ratios [data-scale="log"]`, .5, .5, 1), t.wait(`document.querySelector('#ratios [data-scale="log"]').getAttribute("aria-pressed") === "true"`))
		errs = append(errs, c.picture(t, name+"-"+l.name+"-log", "#percentiles"))
	}
	if has.Gaps {
		add("drag on the gaps", t.drag("#heat", .4, .5, .6, .5), t.wait(zoomed))
		add("back from the gaps", t.click("#heat", .5, .5, 2), t.wait(whole))
		add("point at the gaps", t.click("#heat", .5, .4, 1), t.wait(`/streams waiting/.test(document.getElementById("heat-says").textContent)`))
	}
	if !has.Rows {
		return errors.Join(errs...)
	}
	add("drag a box on requests", t.drag("#waterfall", .2, .1, .7, .6), t.wait(zoomed))
	errs = append(errs, c.picture(t, name+"-"+l.name+"-box", "#requests"))
	add("all requests", t.click(`#waterfall-tools [data-do="all"]`, .5, .5, 1), t.wait(whole))
	add("requests from their start", t.click(`#waterfall-by [data-by="start"]`, .5, .5, 1),
		t.wait(`document.querySelector('#waterfall-by [data-by="start"]').getAttribute("aria-pressed") === "true"`), t.drag("#waterfall", .2, .1, .7, .6))
	errs = append(errs, c.picture(t, name+"-"+l.name+"-aligned", "#requests"))
	add("by time again", t.click(`#waterfall-tools [data-do="all"]`, .5, .5, 1), t.click(`#waterfall-by [data-by="time"]`, .5, .5, 1), t.wait(whole))
	add("click a request", t.click("#waterfall", .5, .5, 1), t.wait(`!document.getElementById("request").hidden && /^Request \d+$/.test(document.querySelector("#request h3").textContent)`))
	var jumps int
	if err := t.eval(`document.querySelectorAll("#waterfall-jumps button").length`, &jumps); err == nil && jumps > 0 {
		add("the slowest request", t.click("#waterfall-jumps button:last-child", .5, .5, 1), t.wait(`document.querySelector("#request .u-over")`))
		errs = append(errs, c.picture(t, name+"-"+l.name+"-request", "#requests"))
	}
	add("keys", t.eval(`document.getElementById("waterfall").dispatchEvent(new KeyboardEvent("keydown", {key: "0"}))`, nil), t.wait(whole))
	return errors.Join(errs...)
}

// touch taps.
func (c *checker) touch(t *tab, l look, name string) error {
	var rows bool
	if err := t.eval(`!document.getElementById("requests").hidden`, &rows); err != nil || !rows {
		return err
	}
	x, y, w, h, err := t.box("#waterfall")
	if err != nil {
		return err
	}
	point := []map[string]float64{{"x": x + w/2, "y": y + h/2}}
	return errors.Join(
		t.call("Input.dispatchTouchEvent", map[string]any{"type": "touchStart", "touchPoints": point}, nil),
		t.call("Input.dispatchTouchEvent", map[string]any{"type": "touchEnd", "touchPoints": []int{}}, nil),
		t.wait(`!document.getElementById("request").hidden`),
		fits(t),
		c.picture(t, name+"-"+l.name+"-request", "#requests"),
	)
}

// opened opens the page as a file: without a server, and with nothing to ask.
func (c *checker) opened(t *tab) error {
	path, err := filepath.Abs(c.file)
	if err != nil {
		return err
	}
	return t.visit("file://"+path, `document.documentElement.dataset.ready && document.querySelectorAll("canvas").length > 4`)
}

// A perfetto plays the UI: it answers PING, takes the trace and says how large it was.
type perfetto struct {
	server *http.Server
	ended  chan struct{}
	got    chan string
}

const perfettoPage = `<!doctype html><title>UI</title><script>
addEventListener("message", e => {
  if (e.data === "PING") { e.source.postMessage("PONG", e.origin); return; }
  if (e.data.perfetto) fetch("/got?bytes=" + e.data.perfetto.buffer.byteLength + "&title=" + encodeURIComponent(e.data.perfetto.title));
});
</script>`

func listenAsPerfetto(address string) (*perfetto, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &perfetto{ended: make(chan struct{}), got: make(chan string, 16)}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/got" {
			p.got <- r.URL.Query().Get("title") + " " + r.URL.Query().Get("bytes")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, perfettoPage)
	})}
	go func() { defer close(p.ended); p.server.Serve(listener) }()
	return p, nil
}

func (p *perfetto) close() {
	p.server.Close()
	<-p.ended
}

// trace presses the button, and the UI must get the very file.
func (c *checker) trace(t *tab, name string) error {
	address := c.base + "/open/" + name
	reply, err := http.Get(c.base + "/trace/" + name)
	if err != nil {
		return err
	}
	reply.Body.Close()
	if reply.StatusCode == http.StatusNotFound {
		return nil // a run without a trace
	}
	if err := t.visit(address, `document.getElementById("open")`); err != nil {
		return err
	}
	if err := errors.Join(c.picture(t, "open-"+name, ""), t.click("#open", .5, .5, 1), t.wait(`document.getElementById("says").textContent === "The trace is in the other tab."`)); err != nil {
		return err
	}
	got, want := <-c.perfetto.got, fmt.Sprintf("%s %d", name, reply.ContentLength)
	if got != want {
		return fmt.Errorf("the UI got %q, not %q", got, want)
	}
	return nil
}
