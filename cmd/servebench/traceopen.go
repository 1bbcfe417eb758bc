package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"servebench/profiles/merge"
	"servebench/profiles/trace"
	"servebench/results/page"
)

// Browsers hold a trace that a page hands on in one piece, and the Perfetto UI its rows besides: this much, packed or not, is the end.
const mostForBrowser = 2_000_000_000

// The page waits a minute for the UI to answer; a trace that was fetched may have to be fetched again until then.
const afterFetch = 90 * time.Second

func traceOpenCommand() *cobra.Command {
	f := viewFlags{perfetto: page.DefaultPerfetto, idle: 10 * time.Minute}
	cmd := &cobra.Command{
		Use:   "open FILE",
		Short: "Open a trace in the Perfetto UI",
		Long: `open serves one trace to the browser on this machine, and to nobody else, on a page whose button opens it in the Perfetto UI with the
client's requests and the server's steps at the top. The browser hands the file over: nothing is uploaded. The command ends by itself a while
after the file was fetched, or when nobody asks for it.`,
		Example: "  servebench trace open runs/gaudi-e2e-multi-20260102-030405/" + merge.FileName + "\n" +
			"  servebench trace open --no-open --port 9000 --perfetto https://perfetto.habana.ai rank0.pt.trace.json.gz",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := page.CheckPerfetto(f.perfetto); err != nil {
				return fmt.Errorf("--perfetto: %w", err)
			}
			if f.idle <= 0 {
				return fmt.Errorf("--idle %v: want a time above zero", f.idle)
			}
			o, err := newTraceOpener(args[0], f.perfetto)
			if err != nil {
				return failed(err)
			}
			return failed(o.serve(cmd.Context(), cmd.ErrOrStderr(), f))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.port, "port", 0, "serve at this `port` of this machine (default: a free one)")
	flags.BoolVar(&f.noOpen, "no-open", false, "print the address, and leave the browser alone")
	flags.StringVar(&f.perfetto, "perfetto", f.perfetto, "open the trace in the Perfetto UI at this `address`")
	flags.DurationVar(&f.idle, "idle", f.idle, "end when nobody has asked for the trace for this `time`")
	return cmd
}

// A traceOpener serves a trace and the page that opens it.
type traceOpener struct {
	path, name, perfetto string
	fetched              atomic.Bool
}

// newTraceOpener is that of a file that the UI can open.
func newTraceOpener(path, perfetto string) (*traceOpener, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", path)
	case info.Size() >= mostForBrowser:
		return nil, fmt.Errorf("%s has %d MB, and a browser takes less than %d: use servebench trace slice or thin first, or trace_processor", path, info.Size()/1e6, int64(mostForBrowser)/1e6)
	}
	if err := openable(path); err != nil {
		return nil, err
	}
	return &traceOpener{path: path, name: filepath.Base(path), perfetto: pinned(perfetto)}, nil
}

// openable says what a file is that is neither a trace in JSON nor one in Perfetto's own form.
func openable(path string) error {
	_, err := trace.ReadFile(path, func(*trace.Event) error { return trace.ErrStop })
	if err == nil {
		return nil
	}
	f, openErr := os.Open(path)
	if openErr != nil {
		return openErr
	}
	defer f.Close()
	if _, native := trace.ReadPerfetto(f, nil); native == nil {
		return nil
	}
	return err
}

// pinned is the address of the UI with the processes that merging adds at the top. An address that says how the UI is to begin is left alone.
func pinned(perfetto string) string {
	u, err := url.Parse(perfetto)
	if err != nil || u.Fragment != "" {
		return perfetto
	}
	commands, err := json.Marshal([]map[string]any{
		{"id": "dev.perfetto.PinTracksByRegex", "args": []string{"^(client: requests|server: steps|server: gaps and compiles)"}},
	})
	if err != nil {
		return perfetto
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String() + "#!/?startupCommands=" + strings.ReplaceAll(url.QueryEscape(string(commands)), "+", "%20")
}

// idle is how long nobody may ask before the server ends.
func (o *traceOpener) idle(f viewFlags) time.Duration {
	if o.fetched.Load() {
		return min(f.idle, afterFetch)
	}
	return f.idle
}

// serve serves until the trace was fetched and nobody asks any more, or the context ends.
func (o *traceOpener) serve(ctx context.Context, talk io.Writer, f viewFlags) error {
	return servePages(ctx, talk, f, pages{
		command: "trace open", handler: o,
		idle: func() time.Duration { return o.idle(f) },
		ended: func() string {
			if o.fetched.Load() {
				return ""
			}
			return fmt.Sprintf("nobody fetched the trace for %v", f.idle)
		},
	})
}

// ServeHTTP answers: the page at /, the file at /trace.
func (o *traceOpener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !admit(w, r, "trace open") {
		return
	}
	var err error
	switch r.URL.Path {
	case "/":
		err = o.page(w)
	case "/trace":
		err = o.file(w, r)
	default:
		http.Error(w, "there is no such page", http.StatusNotFound)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (o *traceOpener) page(w http.ResponseWriter) error {
	info, err := os.Stat(o.path)
	if err != nil {
		return err
	}
	return html(w, func(w io.Writer) error {
		return page.WriteOpener(w, page.Opener{Title: o.name, Trace: "/trace", FileName: o.name, Bytes: info.Size(), Perfetto: o.perfetto})
	})
}

// file sends the trace as it lies on disk: the UI unpacks it.
func (o *traceOpener) file(w http.ResponseWriter, r *http.Request) error {
	f, err := os.Open(o.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, o.name, info.ModTime(), f)
	if r.Method == http.MethodGet && r.Context().Err() == nil {
		o.fetched.Store(true)
	}
	return nil
}
