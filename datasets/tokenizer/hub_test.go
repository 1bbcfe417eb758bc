package tokenizer

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	firstCommit  = "0123456789abcdef0123456789abcdef01234567"
	secondCommit = "89abcdef0123456789abcdef0123456789abcdef"
)

// fakeHub answers as the Hub does: small files itself, large ones by a redirect to
// a store on another host.
type fakeHub struct {
	*httptest.Server
	store *httptest.Server

	mu     sync.Mutex
	files  map[string]string // path behind the repository's name
	large  map[string]bool
	commit string
	status int    // of every answer, when not 0
	cut    int    // bytes after which the store breaks off, once
	token  string // wanted
	log    []string
	leaks  []string // Authorization headers that reached the store
	ranges []string
}

func newFakeHub(t *testing.T) *fakeHub {
	f := &fakeHub{files: map[string]string{}, large: map[string]bool{}, commit: firstCommit}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	f.store = httptest.NewServer(http.HandlerFunc(f.serveStore))
	t.Cleanup(f.Close)
	t.Cleanup(f.store.Close)
	return f
}

func (f *fakeHub) hub(t *testing.T) *Hub {
	return &Hub{Endpoint: f.URL, Cache: t.TempDir(), MetadataTimeout: 10 * time.Second, DownloadTimeout: 10 * time.Second}
}

func gitHash(text string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
	return hex.EncodeToString(sum[:])
}

func largeHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (f *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	if f.status != 0 {
		w.WriteHeader(f.status)
		return
	}
	if f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/models/org/name/revision/") {
		fmt.Fprint(w, `{"siblings":[{"rfilename":"a.json"},{"rfilename":"data/b.parquet"},{"rfilename":"../evil"}]}`)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/old/name/"); ok {
		http.Redirect(w, r, "/org/name/"+rest, http.StatusTemporaryRedirect)
		return
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, "/datasets"), "/org/name/resolve/")
	if !ok {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	revision, name, _ := strings.Cut(rest, "/")
	if revision != "main" && revision != f.commit {
		w.Header().Set("X-Error-Code", "RevisionNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	text, ok := f.files[name]
	w.Header().Set("X-Repo-Commit", f.commit)
	if !ok {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if f.large[name] {
		w.Header().Set("X-Linked-Etag", `"`+largeHash(text)+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(len(text)))
		w.Header().Set("ETag", `"of-the-redirect"`)
		w.Header().Set("Location", f.store.URL+"/"+name)
		w.WriteHeader(http.StatusFound)
		return
	}
	w.Header().Set("ETag", `W/"`+gitHash(text)+`"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	if r.Method == http.MethodGet {
		io.WriteString(w, text)
	}
}

func (f *fakeHub) serveStore(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	text := f.files[strings.TrimPrefix(r.URL.Path, "/")]
	cut := f.cut
	f.cut = 0
	if h := r.Header.Get("Authorization"); h != "" {
		f.leaks = append(f.leaks, h)
	}
	f.ranges = append(f.ranges, r.Header.Get("Range"))
	f.mu.Unlock()
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && from < len(text) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
		w.Header().Set("Content-Length", fmt.Sprint(len(text)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	}
	if cut > 0 {
		io.WriteString(w, text[from:from+cut])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, text[from:])
}

func wantFile(t *testing.T, path string, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Fatalf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func TestHubCacheIsLaidOutAsPythonsIs(t *testing.T) {
	f := newFakeHub(t)
	f.files["sub/a.json"] = "{}"
	h := f.hub(t)
	path, err := h.File(t.Context(), Repo{ID: "org/name"}, "sub/a.json")
	wantFile(t, path, err, "{}")
	folder := filepath.Join(h.Cache, "models--org--name")
	if want := filepath.Join(folder, "snapshots", firstCommit, "sub", "a.json"); path != want {
		t.Errorf("path = %s, want %s", path, want)
	}
	if link, err := os.Readlink(path); err != nil || link != filepath.Join("..", "..", "..", "blobs", gitHash("{}")) {
		t.Errorf("link = %q, %v", link, err)
	}
	if ref, err := os.ReadFile(filepath.Join(folder, "refs", "main")); err != nil || string(ref) != firstCommit {
		t.Errorf("refs/main = %q, %v", ref, err)
	}
	if _, err := os.Stat(filepath.Join(h.Cache, ".locks", "models--org--name", gitHash("{}")+".lock")); err != nil {
		t.Error(err)
	}
	data, err := h.File(t.Context(), Repo{Type: "dataset", ID: "org/name"}, "sub/a.json")
	wantFile(t, data, err, "{}")
	if !strings.HasPrefix(data, filepath.Join(h.Cache, "datasets--org--name")) {
		t.Errorf("dataset lies at %s", data)
	}
}

func TestHubAsksOnceAndFetchesOnlyWhatChanged(t *testing.T) {
	f := newFakeHub(t)
	f.files["a"] = "one"
	h := f.hub(t)
	for range 2 {
		path, err := h.File(t.Context(), Repo{ID: "org/name"}, "a")
		wantFile(t, path, err, "one")
	}
	f.commit = secondCommit // the same file in a new commit
	path, err := h.File(t.Context(), Repo{ID: "org/name"}, "a")
	wantFile(t, path, err, "one")
	if !strings.Contains(path, secondCommit) {
		t.Errorf("path = %s, want it under %s", path, secondCommit)
	}
	pinned, err := h.File(t.Context(), Repo{ID: "org/name", Revision: firstCommit}, "a")
	wantFile(t, pinned, err, "one")
	want := []string{"HEAD /org/name/resolve/main/a", "GET /org/name/resolve/main/a", "HEAD /org/name/resolve/main/a", "HEAD /org/name/resolve/main/a"}
	if !slices.Equal(f.log, want) {
		t.Errorf("requests %q, want %q", f.log, want)
	}
}

func TestHubGoesOnWhereADownloadBroke(t *testing.T) {
	f := newFakeHub(t)
	text := strings.Repeat("0123456789", 20000)
	f.files["big.bin"], f.large["big.bin"] = text, true
	f.cut = 100000
	h := f.hub(t)
	h.Token = "secret"
	f.token = "secret"
	path, err := h.File(t.Context(), Repo{ID: "org/name"}, "big.bin")
	wantFile(t, path, err, text)
	if len(f.ranges) != 2 || f.ranges[0] != "" || !strings.HasPrefix(f.ranges[1], "bytes=") || f.ranges[1] == "bytes=0-" {
		t.Errorf("ranges asked for: %q, want none and then a rest", f.ranges)
	}
	if len(f.leaks) > 0 {
		t.Errorf("the token went to another host: %q", f.leaks)
	}
	left, err := filepath.Glob(filepath.Join(h.Cache, "models--org--name", "blobs", "*.incomplete"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestHubResumesAnEarlierProcessesDownload(t *testing.T) {
	f := newFakeHub(t)
	f.files["big.bin"], f.large["big.bin"] = "hello world", true
	h := f.hub(t)
	partial := filepath.Join(h.Cache, "models--org--name", "blobs", largeHash("hello world")+".incomplete")
	if err := os.MkdirAll(filepath.Dir(partial), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(partial, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	path, err := h.File(t.Context(), Repo{ID: "org/name"}, "big.bin")
	wantFile(t, path, err, "hello world")
	if !slices.Equal(f.ranges, []string{"bytes=5-"}) {
		t.Errorf("ranges %q, want bytes=5-", f.ranges)
	}
}

func TestHubRefusesBytesThatAreNotTheFile(t *testing.T) {
	f := newFakeHub(t)
	f.files["big.bin"], f.large["big.bin"] = "hello world", true
	h := f.hub(t)
	partial := filepath.Join(h.Cache, "models--org--name", "blobs", largeHash("hello world")+".incomplete")
	if err := os.MkdirAll(filepath.Dir(partial), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(partial, []byte("HELLO"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := h.File(t.Context(), Repo{ID: "org/name"}, "big.bin"); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Fatalf("error = %v, want one about the hash", err)
	}
	path, err := h.File(t.Context(), Repo{ID: "org/name"}, "big.bin") // the bad part is gone
	wantFile(t, path, err, "hello world")
}

func TestHubMakesDoWithTheCache(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*fakeHub, *Hub)
		want  string // in the error for a file that is not cached
	}{
		{"503", func(f *fakeHub, _ *Hub) { f.status = http.StatusServiceUnavailable }, "503"},
		{"no network", func(f *fakeHub, _ *Hub) { f.Close() }, "cannot be reached"},
		{"offline", func(_ *fakeHub, h *Hub) { h.Offline = true }, "HF_HUB_OFFLINE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeHub(t)
			f.files["a"] = "one"
			h := f.hub(t)
			path, err := h.File(t.Context(), Repo{ID: "org/name"}, "a")
			wantFile(t, path, err, "one")
			tc.spoil(f, h)
			path, err = h.File(t.Context(), Repo{ID: "org/name"}, "a")
			wantFile(t, path, err, "one")
			if _, err := h.File(t.Context(), Repo{ID: "org/name"}, "b"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("File(b): %v, want an error with %q", err, tc.want)
			}
			if names, err := h.List(t.Context(), Repo{ID: "org/name"}); err != nil || !slices.Equal(names, []string{"a"}) {
				t.Errorf("List() = %q, %v; want the cached a", names, err)
			}
		})
	}
}

func TestHubSaysWhatIsWrong(t *testing.T) {
	f := newFakeHub(t)
	f.files["a"] = "one"
	h := f.hub(t)
	for _, tc := range []struct {
		repo Repo
		file string
		want string
	}{
		{Repo{ID: "org/name"}, "none", "model org/name has no file none"},
		{Repo{ID: "org/name", Revision: "v9"}, "a", `has no revision "v9"`},
		{Repo{ID: "org/other"}, "a", "does not exist"},
		{Repo{ID: "../etc"}, "a", "neither a folder nor the name of a repository"},
		{Repo{ID: "org/name"}, "../../x", "is not the name of a file"},
		{Repo{ID: "org/name", Revision: "../x"}, "a", "is not valid"},
		{Repo{ID: "org/name", Type: "space"}, "a", "no repository type"},
	} {
		if _, err := h.File(t.Context(), tc.repo, tc.file); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("File(%+v, %s): %v, want an error with %q", tc.repo, tc.file, err, tc.want)
		}
	}
	if _, err := h.File(t.Context(), Repo{ID: "org/name"}, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v, want fs.ErrNotExist", err)
	}
	h.Offline = true // what is known to be missing is so offline too
	if _, err := h.File(t.Context(), Repo{ID: "org/name"}, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("offline, a missing file is %v, want fs.ErrNotExist", err)
	}
	h.Offline = false
	f.token = "secret"
	h.Token = "wrong-secret"
	if _, err := h.File(t.Context(), Repo{ID: "org/name"}, "a"); err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("error = %v, want one without the token", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.File(ctx, Repo{ID: "org/name"}, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

func TestHubFollowsRenamedRepositories(t *testing.T) {
	f := newFakeHub(t)
	f.files["a"] = "one"
	h := f.hub(t)
	path, err := h.File(t.Context(), Repo{ID: "old/name"}, "a")
	wantFile(t, path, err, "one")
}

func TestHubListsSafeNames(t *testing.T) {
	h := newFakeHub(t).hub(t)
	names, err := h.List(t.Context(), Repo{ID: "org/name"})
	if want := []string{"a.json", "data/b.parquet"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("List() = %q, %v; want %q", names, err, want)
	}
}

func TestHubManyAtOnceFetchOnce(t *testing.T) {
	f := newFakeHub(t)
	f.files["a"] = "one"
	h := f.hub(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if path, err := h.File(t.Context(), Repo{ID: "org/name"}, "a"); err != nil {
				t.Error(err)
			} else if data, err := os.ReadFile(path); err != nil || string(data) != "one" {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
	all.Wait()
	n := 0
	for _, line := range f.log {
		if strings.HasPrefix(line, "GET") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestHubSettings(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DISABLE_IMPLICIT_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		env  map[string]string
		want *Hub
	}{
		{"nothing", nil, &Hub{Endpoint: "https://huggingface.co", Cache: filepath.Join(home, ".cache/huggingface/hub")}},
		{"xdg", map[string]string{"XDG_CACHE_HOME": "/x"}, &Hub{Endpoint: "https://huggingface.co", Cache: "/x/huggingface/hub"}},
		{"home", map[string]string{"XDG_CACHE_HOME": "/x", "HF_HOME": "~"}, &Hub{Endpoint: "https://huggingface.co", Cache: home + "/hub", Token: "from-file"}},
		{"cache", map[string]string{"HF_HOME": "/h", "HF_HUB_CACHE": "/c", "HF_ENDPOINT": "http://mirror/", "HF_TOKEN": " t "}, &Hub{Endpoint: "http://mirror", Cache: "/c", Token: "t"}},
		{"token path", map[string]string{"HF_HOME": "/h", "HF_TOKEN_PATH": home + "/token"}, &Hub{Endpoint: "https://huggingface.co", Cache: "/h/hub", Token: "from-file"}},
		{"no token", map[string]string{"HF_HOME": "/h", "HF_TOKEN": "t", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, &Hub{Endpoint: "https://huggingface.co", Cache: "/h/hub"}},
		{"offline", map[string]string{"HF_HOME": "/h", "TRANSFORMERS_OFFLINE": "yes"}, &Hub{Endpoint: "https://huggingface.co", Cache: "/h/hub", Offline: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			h := NewHub()
			if h.Endpoint != tc.want.Endpoint || h.Cache != tc.want.Cache || h.Token != tc.want.Token || h.Offline != tc.want.Offline {
				t.Errorf("got %s %s %q %t, want %s %s %q %t", h.Endpoint, h.Cache, h.Token, h.Offline, tc.want.Endpoint, tc.want.Cache, tc.want.Token, tc.want.Offline)
			}
		})
	}
	t.Setenv("HF_HUB_ETAG_TIMEOUT", "2.5")
	if got := NewHub().MetadataTimeout; got != 2500*time.Millisecond {
		t.Errorf("MetadataTimeout = %v, want 2.5s", got)
	}
}

func TestOpenFindsAFolderARepositoryAndTheCache(t *testing.T) {
	f := newFakeHub(t)
	for name, text := range tinyFiles() {
		f.files[name] = text
	}
	h := f.hub(t)
	dir := t.TempDir()
	for name, text := range tinyFiles() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ name, want string }{{dir, filepath.Base(dir)}, {"org/name", "org/name"}} {
		tok, err := Open(t.Context(), tc.name, Options{Hub: h})
		if err != nil {
			t.Fatal(err)
		}
		ids, err := tok.Encode("ab", true)
		if err != nil || !slices.Equal(ids, []int{3, 2}) {
			t.Errorf("%s: Encode(ab) = %v, %v; want [3 2]", tc.name, ids, err)
		}
		if tok.Name() != tc.want {
			t.Errorf("Name() = %q, want %q", tok.Name(), tc.want)
		}
	}
	h.Offline = true
	if _, err := Open(t.Context(), "org/name", Options{Hub: h}); err != nil {
		t.Errorf("from the cache: %v", err)
	}
	for name, want := range map[string]string{"org/none": "not in the cache", "./no/such": "no such folder", "": "no tokenizer named", "a b": "neither a folder nor"} {
		if _, err := Open(t.Context(), name, Options{Hub: h}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want an error with %q", name, err, want)
		}
	}
}
