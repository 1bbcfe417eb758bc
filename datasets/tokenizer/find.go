package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Options say where to look for a tokenizer. The zero value is the usual.
type Options struct {
	// Revision is a branch, tag or commit of the repository; empty means main.
	Revision string
	// Hub fetches; nil means NewHub().
	Hub *Hub
}

// beside are the files that may stand beside tokenizer.json.
var beside = []string{"tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json"}

// Find returns the folder (or the file) that holds the tokenizer called name: name
// itself when it exists on this machine, else the repository of that name in the
// cache or on the Hub.
func Find(ctx context.Context, name string, opts Options) (string, error) {
	if name == "" {
		return "", errors.New("no tokenizer named")
	}
	if _, err := os.Stat(expand(name)); err == nil {
		return expand(name), nil
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "~") || strings.Count(name, "/") > 1 {
		return "", fmt.Errorf("tokenizer %s: no such folder", name)
	}
	hub := opts.Hub
	if hub == nil {
		hub = NewHub()
	}
	repo := Repo{ID: name, Revision: opts.Revision}
	main, err := hub.File(ctx, repo, "tokenizer.json")
	for _, other := range []string{"tokenizer.model", "tiktoken.model", "qwen.tiktoken"} {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotCached) {
			break
		}
		if path, e := hub.File(ctx, repo, other); e == nil {
			main, err = path, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("tokenizer %w", err)
	}
	dir := filepath.Dir(main)
	repo.Revision = filepath.Base(dir) // all files of one commit
	for _, file := range beside {
		if _, err := hub.File(ctx, repo, file); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotCached) {
			var fault *unreachable
			if !errors.As(err, &fault) {
				return "", fmt.Errorf("tokenizer %w", err)
			}
			// The Hub failed half-way. With the main file cached and nothing known of
			// this one, it is most likely that there is none.
		}
	}
	return dir, nil
}

// Open finds a tokenizer and loads it.
func Open(ctx context.Context, name string, opts Options) (*Tokenizer, error) {
	path, err := Find(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	t, err := Load(path)
	if err != nil {
		return nil, err
	}
	if path != expand(name) {
		t.name = name
	}
	return t, nil
}
