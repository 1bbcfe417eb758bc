package tokenizer

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"servebench/internal/lazy"
)

// A Hub fetches single files of model and dataset repositories and keeps them in
// the cache that Hugging Face's own tools use, so that either finds what the other
// fetched. It is safe for concurrent use, by several processes too.
type Hub struct {
	// Endpoint is the Hub's address.
	Endpoint string
	// Cache is the folder that holds models--org--name folders.
	Cache string
	// Token is sent to Endpoint's host, never to another; empty for none.
	Token string
	// Offline says that nothing may be asked of the network.
	Offline bool
	// MetadataTimeout bounds the question what a file's current version is.
	MetadataTimeout time.Duration
	// DownloadTimeout bounds the wait for the next bytes of a download.
	DownloadTimeout time.Duration
	// Transport makes the requests; nil for the usual one.
	Transport http.RoundTripper

	mu   sync.Mutex
	down error // the Hub could not be reached; not asked again
}

// A Repo is one revision of a repository on the Hub.
type Repo struct {
	// Type is model or dataset; empty means model.
	Type string
	// ID is org/name, or name alone for some old ones.
	ID string
	// Revision is a branch, a tag or a commit; empty means main.
	Revision string
}

// NewHub reads the settings of Hugging Face's tools: HF_ENDPOINT, HF_HUB_CACHE,
// HF_HOME, XDG_CACHE_HOME, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE,
// TRANSFORMERS_OFFLINE, HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT and
// HF_HUB_DISABLE_IMPLICIT_TOKEN.
func NewHub() *Hub {
	home := expand(firstOf(os.Getenv("HF_HOME"), filepath.Join(firstOf(os.Getenv("XDG_CACHE_HOME"), "~/.cache"), "huggingface")))
	h := &Hub{
		Endpoint:        strings.TrimRight(firstOf(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"),
		Cache:           expand(firstOf(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE"), filepath.Join(home, "hub"))),
		Offline:         isSet("HF_HUB_OFFLINE") || isSet("TRANSFORMERS_OFFLINE"),
		MetadataTimeout: seconds("HF_HUB_ETAG_TIMEOUT", 10*time.Second),
		DownloadTimeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10*time.Second),
	}
	if isSet("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
		return h
	}
	h.Token = strings.TrimSpace(firstOf(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN")))
	if h.Token == "" {
		if data, err := os.ReadFile(expand(firstOf(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token")))); err == nil {
			h.Token = strings.TrimSpace(string(data))
		}
	}
	return h
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// expand resolves ~ and variables, as the Python tools do.
func expand(path string) string {
	path = os.ExpandEnv(path)
	if path == "~" || strings.HasPrefix(path, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return home + path[1:]
		}
	}
	return path
}

func isSet(name string) bool {
	switch strings.ToUpper(os.Getenv(name)) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

func seconds(name string, usual time.Duration) time.Duration {
	if n, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil && n > 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second))
	}
	return usual
}

var (
	repoID     = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$`)
	commitHash = lazy.Regexp(`^[0-9a-f]{40}$`)
	blobName   = lazy.Regexp(`^[A-Za-z0-9._-]{1,128}$`)
)

// check refuses names that could lead out of the cache.
func (r Repo) check() (Repo, error) {
	r.Type = firstOf(r.Type, "model")
	r.Revision = firstOf(r.Revision, "main")
	if r.Type != "model" && r.Type != "dataset" {
		return r, fmt.Errorf("no repository type %q: have model, dataset", r.Type)
	}
	if !repoID().MatchString(r.ID) || strings.Contains(r.ID, "..") || strings.Contains(r.ID, "--") {
		return r, fmt.Errorf("%q is neither a folder nor the name of a repository (org/name)", r.ID)
	}
	if !safePath(r.Revision) {
		return r, fmt.Errorf("%s: revision %q is not valid", r.ID, r.Revision)
	}
	return r, nil
}

func safePath(name string) bool {
	return name != "" && fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "\\\x00:")
}

// folder is the repository's place in the cache.
func (h *Hub) folder(r Repo) string {
	return filepath.Join(h.Cache, r.Type+"s--"+strings.ReplaceAll(r.ID, "/", "--"))
}

// resolve is the address of a file.
func (h *Hub) resolve(r Repo, name string) string {
	prefix := ""
	if r.Type == "dataset" {
		prefix = "datasets/"
	}
	return h.Endpoint + "/" + prefix + r.ID + "/resolve/" + url.PathEscape(r.Revision) + "/" + (&url.URL{Path: name}).EscapedPath()
}

// File returns the path of one file of a repository on this machine, fetching it
// if the cache has no current copy. When the Hub cannot be reached, or fails, a
// cached copy will do. The error is fs.ErrNotExist when the repository has no such
// file.
func (h *Hub) File(ctx context.Context, repo Repo, name string) (string, error) {
	r, err := repo.check()
	if err != nil {
		return "", err
	}
	if !safePath(name) {
		return "", fmt.Errorf("%s: %q is not the name of a file in a repository", r.ID, name)
	}
	cached, haveCached := h.cached(r, name)
	if haveCached && commitHash().MatchString(r.Revision) {
		return cached, nil // a commit never changes
	}
	if h.Offline {
		if haveCached {
			return cached, nil
		}
		if h.knownMissing(r, name) {
			return "", fmt.Errorf("%s %s has no file %s: %w", r.Type, r.ID, name, fs.ErrNotExist)
		}
		return "", fmt.Errorf("%s: %s is not in the cache %s, and HF_HUB_OFFLINE forbids to ask the Hub: %w", r.ID, name, h.Cache, errNotCached)
	}
	meta, err := h.head(ctx, r, name)
	var fault *unreachable
	switch {
	case err == nil:
	case errors.As(err, &fault):
		if haveCached {
			return cached, nil
		}
		return "", fmt.Errorf("%s: %s is not in the cache %s, and %w: give a local folder, or set HF_ENDPOINT to a mirror", r.ID, name, h.Cache, err)
	default:
		if errors.Is(err, fs.ErrNotExist) && commitHash().MatchString(meta.commit) {
			h.noteMissing(r, name, meta.commit)
		}
		return "", err
	}
	folder := h.folder(r)
	if r.Revision != meta.commit {
		if err := writeRef(filepath.Join(folder, "refs", filepath.FromSlash(r.Revision)), meta.commit); err != nil {
			return "", err
		}
	}
	pointer := filepath.Join(folder, "snapshots", meta.commit, filepath.FromSlash(name))
	if _, err := os.Stat(pointer); err == nil {
		return pointer, nil
	}
	blob := filepath.Join(folder, "blobs", meta.etag)
	unlock, err := lock(ctx, filepath.Join(h.Cache, ".locks", filepath.Base(folder), meta.etag+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(blob); err != nil {
		if err := h.download(ctx, r, name, meta, blob); err != nil {
			return "", fmt.Errorf("%s: %s: %w", r.ID, name, err)
		}
	}
	return pointer, linkBlob(blob, pointer)
}

// errNotCached marks a file that only the network could bring.
var errNotCached = errors.New("not cached")

// commitOf is the commit a revision was last seen at, or the revision itself.
func (h *Hub) commitOf(r Repo) string {
	if data, err := os.ReadFile(filepath.Join(h.folder(r), "refs", filepath.FromSlash(r.Revision))); err == nil {
		if commit := strings.TrimSpace(string(data)); commitHash().MatchString(commit) {
			return commit
		}
	}
	return r.Revision
}

// noteMissing remembers that a commit has no such file, where Python's tools look
// for it. That is a convenience: nothing fails when it cannot be written.
func (h *Hub) noteMissing(r Repo, name, commit string) {
	path := filepath.Join(h.folder(r), ".no_exist", commit, filepath.FromSlash(name))
	if os.MkdirAll(filepath.Dir(path), 0o777) == nil {
		_ = os.WriteFile(path, nil, 0o666)
	}
	if r.Revision != commit {
		_ = writeRef(filepath.Join(h.folder(r), "refs", filepath.FromSlash(r.Revision)), commit)
	}
}

func (h *Hub) knownMissing(r Repo, name string) bool {
	_, err := os.Stat(filepath.Join(h.folder(r), ".no_exist", filepath.FromSlash(h.commitOf(r)), filepath.FromSlash(name)))
	return err == nil
}

// cached finds a file in the cache by its revision.
func (h *Hub) cached(r Repo, name string) (string, bool) {
	pointer := filepath.Join(h.folder(r), "snapshots", filepath.FromSlash(h.commitOf(r)), filepath.FromSlash(name))
	_, err := os.Stat(pointer)
	return pointer, err == nil
}

// metadata is what a HEAD request says of a file.
type metadata struct {
	commit   string
	etag     string // the blob's name: its SHA-256 or its git hash
	size     int64  // -1: not said
	location string // where the bytes are
}

// unreachable is a fault of the network or the Hub, not of the request.
type unreachable struct {
	endpoint string
	err      error
}

func (u *unreachable) Error() string {
	return fmt.Sprintf("%s cannot be reached: %v", u.endpoint, u.err)
}
func (u *unreachable) Unwrap() error { return u.err }

func (h *Hub) unreachable(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err // without the address
	}
	return &unreachable{h.Endpoint, err}
}

// client follows redirects as follow says, and takes the token off a request that
// goes to another host.
func (h *Hub) client(follow func(*http.Request) bool) *http.Client {
	return &http.Client{Transport: h.Transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("too many redirects")
		}
		if !follow(req) {
			return http.ErrUseLastResponse
		}
		if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
			req.Header.Del("Authorization")
		}
		return nil
	}}
}

func (h *Hub) request(ctx context.Context, method, address string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, fmt.Errorf("address %q of the Hub is not valid", address)
	}
	req.Header.Set("User-Agent", "servebench")
	req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are of the plain bytes
	home, err := url.Parse(h.Endpoint)
	if err == nil && h.Token != "" && req.URL.Host == home.Host && req.URL.Scheme == home.Scheme {
		req.Header.Set("Authorization", "Bearer "+h.Token)
	}
	return req, nil
}

// head asks which version of a file is current and where it is.
func (h *Hub) head(ctx context.Context, r Repo, name string) (metadata, error) {
	h.mu.Lock()
	down := h.down
	h.mu.Unlock()
	if down != nil {
		return metadata{}, down
	}
	inner, cancel := context.WithTimeout(ctx, h.MetadataTimeout)
	defer cancel()
	req, err := h.request(inner, http.MethodHead, h.resolve(r, name))
	if err != nil {
		return metadata{}, err
	}
	// A renamed repository redirects within the Hub; a large file redirects to its
	// store, whose answer knows neither commit nor hash.
	resp, err := h.client(func(next *http.Request) bool { return next.URL.Host == req.URL.Host }).Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return metadata{}, ctx.Err()
		}
		if inner.Err() != nil {
			err = fmt.Errorf("no answer within %v", h.MetadataTimeout)
		}
		err = h.unreachable(err)
		h.mu.Lock()
		h.down = err
		h.mu.Unlock()
		return metadata{}, err
	}
	resp.Body.Close()
	if err := h.refusal(resp, r, name); err != nil {
		return metadata{commit: resp.Header.Get("X-Repo-Commit")}, err
	}
	m := metadata{commit: resp.Header.Get("X-Repo-Commit"), size: -1, location: resp.Request.URL.String()}
	m.etag = strings.Trim(strings.TrimPrefix(firstOf(resp.Header.Get("X-Linked-Etag"), resp.Header.Get("ETag")), "W/"), `"`)
	if !commitHash().MatchString(m.commit) || !blobName().MatchString(m.etag) || m.etag == "." || m.etag == ".." {
		return metadata{}, fmt.Errorf("%s: %s: the answer of %s names no commit and hash: is it a Hub?", r.ID, name, h.Endpoint)
	}
	size := resp.Header.Get("X-Linked-Size")
	if size == "" && resp.StatusCode < 300 {
		size = resp.Header.Get("Content-Length")
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 {
		m.size = n
	}
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode >= 300 {
		next, err := resp.Request.URL.Parse(to)
		if err != nil {
			return metadata{}, fmt.Errorf("%s: %s: redirect is not an address", r.ID, name)
		}
		m.location = next.String()
	}
	return m, nil
}

// refusal turns the Hub's ways to say no into words.
func (h *Hub) refusal(resp *http.Response, r Repo, name string) error {
	kind := r.Type + " " + r.ID
	code := resp.Header.Get("X-Error-Code")
	switch {
	case resp.StatusCode < 400:
		return nil
	case code == "EntryNotFound":
		return fmt.Errorf("%s has no file %s: %w", kind, name, fs.ErrNotExist)
	case code == "RevisionNotFound":
		return fmt.Errorf("%s has no revision %q", kind, r.Revision)
	case code == "GatedRepo":
		return fmt.Errorf("%s is gated: accept its terms on the Hub and set HF_TOKEN", kind)
	case code == "RepoNotFound" || resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		if h.Token == "" {
			return fmt.Errorf("%s does not exist on %s, or is private: set HF_TOKEN", kind, h.Endpoint)
		}
		return fmt.Errorf("%s does not exist on %s, or the token may not read it", kind, h.Endpoint)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s has no file %s: %w", kind, name, fs.ErrNotExist)
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return &unreachable{h.Endpoint, errors.New("it answers " + resp.Status)}
	}
	return fmt.Errorf("%s: %s: %s answers %s", kind, name, h.Endpoint, resp.Status)
}

// tries is how often a download is taken up again before it is given up.
const tries = 5

// download fetches a blob, going on where an earlier attempt stopped.
func (h *Hub) download(ctx context.Context, r Repo, name string, m metadata, blob string) error {
	if err := os.MkdirAll(filepath.Dir(blob), 0o777); err != nil {
		return err
	}
	partial := blob + ".incomplete"
	var err error
	for range tries {
		var more bool
		if more, err = h.fetch(ctx, r, name, m, partial); !more {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := verify(partial, m); err != nil {
		os.Remove(partial)
		return err
	}
	return os.Rename(partial, blob)
}

// fetch adds to the partial file; again says that trying once more may help.
func (h *Hub) fetch(ctx context.Context, r Repo, name string, m metadata, partial string) (again bool, err error) {
	file, err := os.OpenFile(partial, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	have := info.Size()
	if m.size >= 0 && have > m.size {
		if err := file.Truncate(0); err != nil {
			return false, err
		}
		have = 0
	}
	if m.size >= 0 && have == m.size {
		return false, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := h.request(ctx, http.MethodGet, m.location)
	if err != nil {
		return false, err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	idle := time.AfterFunc(h.DownloadTimeout, func() { cancel(fmt.Errorf("no bytes for %v", h.DownloadTimeout)) })
	defer idle.Stop()
	resp, err := h.client(func(*http.Request) bool { return true }).Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return parentAlive(ctx), h.unreachable(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return true, errors.Join(errors.New("the store cannot go on where the download stopped"), file.Truncate(0))
	case resp.StatusCode == http.StatusPartialContent && have > 0:
	case resp.StatusCode == http.StatusOK:
		if err := file.Truncate(0); err != nil {
			return false, err
		}
	default:
		if err := h.refusal(resp, r, name); err != nil {
			var fault *unreachable
			return errors.As(err, &fault), err
		}
		return false, fmt.Errorf("download answers %s", resp.Status)
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buffer)
		idle.Reset(h.DownloadTimeout)
		if _, werr := file.Write(buffer[:n]); werr != nil {
			return false, werr
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return parentAlive(ctx), h.unreachable(err)
		}
	}
}

// parentAlive says that it was not the caller who gave up.
func parentAlive(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded)
}

// verify compares a download with the size and the hash the Hub named: SHA-256 for
// large files, git's blob hash for others.
func verify(path string, m metadata) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if m.size >= 0 && info.Size() != m.size {
		return fmt.Errorf("has %d bytes, the Hub said %d", info.Size(), m.size)
	}
	var sum hash.Hash
	switch {
	case len(m.etag) == 64 && isHex(m.etag):
		sum = sha256.New()
	case commitHash().MatchString(m.etag):
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", info.Size())
	default:
		return nil // a mirror's own kind of tag
	}
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != m.etag {
		return fmt.Errorf("has the hash %s, the Hub said %s", got, m.etag)
	}
	return nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

// writeRef says which commit a branch is at.
func writeRef(path, commit string) error {
	if data, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(data)) == commit {
		return nil
	}
	return replaceFile(path, func(temporary string) error { return os.WriteFile(temporary, []byte(commit), 0o666) })
}

// linkBlob makes the snapshot's name for a blob: a relative link, so that the cache
// can be moved.
func linkBlob(blob, pointer string) error {
	target, err := filepath.Rel(filepath.Dir(pointer), blob)
	if err != nil {
		return err
	}
	return replaceFile(pointer, func(temporary string) error { return os.Symlink(target, temporary) })
}

// replaceFile makes a file under another name and moves it into place.
func replaceFile(path string, make func(temporary string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	temporary := filepath.Join(dir, "new")
	if err := make(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// List names the files of a repository. Offline, or when the Hub cannot be reached,
// these are the cached ones.
func (h *Hub) List(ctx context.Context, repo Repo) ([]string, error) {
	r, err := repo.check()
	if err != nil {
		return nil, err
	}
	if !h.Offline {
		names, err := h.list(ctx, r)
		var fault *unreachable
		if !errors.As(err, &fault) {
			return names, err
		}
		if cached := h.listCached(r); len(cached) > 0 {
			return cached, nil
		}
		return nil, fmt.Errorf("%s %s is not in the cache %s, and %w", r.Type, r.ID, h.Cache, err)
	}
	cached := h.listCached(r)
	if len(cached) == 0 {
		return nil, fmt.Errorf("%s %s is not in the cache %s, and HF_HUB_OFFLINE forbids to ask the Hub: %w", r.Type, r.ID, h.Cache, errNotCached)
	}
	return cached, nil
}

func (h *Hub) list(ctx context.Context, r Repo) ([]string, error) {
	inner, cancel := context.WithTimeout(ctx, max(h.MetadataTimeout, h.DownloadTimeout))
	defer cancel()
	req, err := h.request(inner, http.MethodGet, h.Endpoint+"/api/"+r.Type+"s/"+r.ID+"/revision/"+url.PathEscape(r.Revision))
	if err != nil {
		return nil, err
	}
	resp, err := h.client(func(next *http.Request) bool { return next.URL.Host == req.URL.Host }).Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, h.unreachable(err)
	}
	defer resp.Body.Close()
	if err := h.refusal(resp, r, "list"); err != nil {
		return nil, err
	}
	var info struct {
		Siblings []struct{ RFilename string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&info); err != nil {
		return nil, fmt.Errorf("%s %s: the list of files: %w", r.Type, r.ID, err)
	}
	names := make([]string, 0, len(info.Siblings))
	for _, s := range info.Siblings {
		if safePath(s.RFilename) {
			names = append(names, s.RFilename)
		}
	}
	return names, nil
}

func (h *Hub) listCached(r Repo) []string {
	root, _ := h.cached(r, "x")
	root = path.Dir(filepath.ToSlash(root))
	if root == "." {
		return nil
	}
	var names []string
	_ = filepath.WalkDir(filepath.FromSlash(root), func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if rel, err := filepath.Rel(filepath.FromSlash(root), file); err == nil {
				names = append(names, filepath.ToSlash(rel))
			}
		}
		return nil
	})
	return names
}
