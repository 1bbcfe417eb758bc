package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Kind is a backend by its name on the command line.
type Kind struct {
	Dialect Dialect
	// Path is where the backend's requests usually go.
	Path string
	// Pooling says that the reply has no output tokens: embeddings, scores.
	Pooling bool
	// Sampling says that sampling parameters have a meaning.
	Sampling bool
}

// kinds are the backends. Their names are those of vllm bench serve.
var kinds = map[string]Kind{
	"vllm":                      {Dialect: completions{}, Path: "/v1/completions", Sampling: true},
	"openai":                    {Dialect: completions{}, Path: "/v1/completions", Sampling: true},
	"openai-chat":               {Dialect: chat{}, Path: "/v1/chat/completions", Sampling: true},
	"openai-responses":          {Dialect: responses{}, Path: "/v1/responses", Sampling: true},
	"openai-audio":              {Dialect: audio{}, Path: "/v1/audio/transcriptions"},
	"openai-embeddings":         {Dialect: embeddings{}, Path: "/v1/embeddings", Pooling: true},
	"openai-embeddings-chat":    {Dialect: embeddingsChat{}, Path: "/v1/embeddings", Pooling: true},
	"openai-embeddings-clip":    {Dialect: embeddingsChat{clip: true}, Path: "/v1/embeddings", Pooling: true},
	"openai-embeddings-vlm2vec": {Dialect: embeddingsChat{vlm2vec: true}, Path: "/v1/embeddings", Pooling: true},
	"infinity-embeddings":       {Dialect: infinity{}, Path: "/embeddings", Pooling: true},
	"infinity-embeddings-clip":  {Dialect: infinity{clip: true}, Path: "/embeddings", Pooling: true},
	"vllm-pooling":              {Dialect: pooling{}, Path: "/pooling", Pooling: true},
	"vllm-rerank":               {Dialect: rerank{}, Path: "/rerank", Pooling: true},
}

// Kinds are the names of all backends, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// KindOf is the backend of that name.
func KindOf(name string) (Kind, error) {
	k, ok := kinds[name]
	if !ok {
		return Kind{}, fmt.Errorf("no backend %q: have %s", name, strings.Join(Kinds(), ", "))
	}
	return k, nil
}
