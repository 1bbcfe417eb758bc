package datasets

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"servebench/datasets/tokenizer"
)

// A store is where the files of a set are. Names are slash-separated paths.
type store interface {
	// list names all files.
	list() ([]string, error)
	// file brings one onto this machine and says where it is. The error is
	// fs.ErrNotExist when there is none of the name.
	file(name string) (string, error)
	String() string
}

// store is that of the set: a folder or file here, else the Hub.
func (h *HF) store(b *build) (store, error) {
	info, err := os.Stat(h.Path)
	switch {
	case err == nil && info.IsDir():
		return folder(h.Path), nil
	case err == nil:
		return single(h.Path), nil
	case !errors.Is(err, fs.ErrNotExist) || strings.Count(h.Path, "/") != 1 || filepath.IsAbs(h.Path) || strings.HasPrefix(h.Path, "."):
		return nil, err
	}
	hub := h.Hub
	if hub == nil {
		hub = tokenizer.NewHub()
	}
	return &remote{b.ctx, hub, tokenizer.Repo{Type: "dataset", ID: h.Path}}, nil
}

// A folder holds a copy of a set.
type folder string

func (f folder) String() string { return string(f) }

// list follows no links to folders; those of the Hub's cache lead to files.
func (f folder) list() (names []string, err error) {
	root := string(f)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == root:
			return nil
		case strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		rel, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	return names, err
}

func (f folder) file(name string) (string, error) {
	path := filepath.FromSlash(name)
	if !filepath.IsAbs(path) {
		path = filepath.Join(string(f), path)
	}
	_, err := os.Stat(path)
	return path, err
}

// A single file is the whole set.
type single string

func (s single) String() string          { return string(s) }
func (s single) list() ([]string, error) { return []string{string(s)}, nil }
func (s single) file(name string) (string, error) {
	if name == string(s) {
		return name, nil
	}
	return folder(filepath.Dir(string(s))).file(name)
}

// remote is a repository of the Hub. Files are fetched when they are needed.
type remote struct {
	ctx  context.Context
	hub  *tokenizer.Hub
	repo tokenizer.Repo
}

func (r *remote) String() string          { return r.repo.ID }
func (r *remote) list() ([]string, error) { return r.hub.List(r.ctx, r.repo) }
func (r *remote) file(name string) (string, error) {
	return r.hub.File(r.ctx, r.repo, name)
}
