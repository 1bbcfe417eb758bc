// Package datasets holds what is asked: samples of a prompt, its length and the
// length of the answer wanted, from one source a file.
//
// A dataset is complete before the load begins: no tokenizer runs while requests
// are due.
//
// A Source is the configuration of one kind of dataset. New gives the usual one, Load
// makes the samples:
//
//	src, err := datasets.New("random")
//	set, err := datasets.Load(ctx, src, datasets.Options{Requests: 100, Tokenizer: tok})
//
// Samples, their order and what loading leaves of the random numbers are those of vLLM's
// client 0.33 for the same settings and seed.
package datasets

import "encoding/json"

// A Dataset is a list of samples. At is safe for concurrent use and returns the
// same sample for the same i, on every machine, for the same configuration and seed.
type Dataset interface {
	Len() int
	At(i int) Sample
}

// A Sample is the content of one request.
type Sample struct {
	// ID is sent as x-request-id; empty when none is.
	ID string
	// Prompt is what is asked.
	Prompt Prompt
	// InputTokens is the local count of the prompt; -1 when nothing could count it.
	InputTokens int
	// OutputTokens is how many tokens are asked for; negative when the request sets no limit.
	OutputTokens int
	// Media go beside the prompt.
	Media []Media
	// Messages are ready-made chat messages (a JSON list); nil when the dialect makes them from the prompt.
	Messages json.RawMessage
	// Extra are members merged over the request's body, in order.
	Extra []Member
	// Answer is the source's own answer, and Later are the turns that follow in its conversation: conversations has both, sharegpt the
	// turns where Options.Conversations asked for them.
	Answer string
	Later  []Turn
	// Timestamp is when the sample's source wants it sent, in seconds from the start; Timed says whether it does.
	Timestamp float64
	Timed     bool
}

// A Turn is what a user says in a conversation, with the length of the answer wanted.
type Turn struct {
	Text string
	// Answer is the source's own answer, InputTokens the count of Text; only conversations has them.
	Answer       string
	InputTokens  int
	OutputTokens int
}

// A Member is one key of a JSON object whose order matters.
type Member struct {
	Key   string
	Value json.RawMessage
}

// A Prompt is a text, token ids, a list of texts, or any other JSON value. Exactly one is set;
// the zero Prompt is the empty text.
type Prompt struct {
	Text string
	IDs  []int
	List []string
	JSON json.RawMessage
}

// Media is one image, video or clip of audio.
type Media struct {
	// Type is image_url, video_url, input_audio or audio.
	Type string
	// JSON is the content part as it goes into a chat message; nil for raw audio.
	JSON json.RawMessage
	// Name, Data and Seconds describe raw audio: the file name, its bytes (a WAV or
	// the file as it is) and its length.
	Name    string
	Data    []byte
	Seconds float64
}

// A Tokenizer turns text into ids and back, as the model under test does. It sees no dataset and no server's load.
type Tokenizer interface {
	// Encode returns the ids of text, with the special tokens the model puts around a prompt if special is set.
	Encode(text string, special bool) ([]int, error)
	// Decode returns the text of ids, special tokens kept, with the clean-up of spaces the tokenizer asks for.
	Decode(ids []int) (string, error)
	// VocabSize is the size of the model's vocabulary without added tokens.
	VocabSize() int
	// SpecialIDs are the named special tokens (bos, eos, unk, sep, pad, cls, mask, additional ones), ascending.
	SpecialIDs() []int
	// SpecialTokens is how many tokens Encode adds around a single prompt.
	SpecialTokens() int
}

// A Template renders chat messages (a JSON list) into the prompt text the model was trained on. A
// Tokenizer that has a chat template implements it.
type Template interface {
	Render(messages json.RawMessage, generationPrompt bool, kwargs map[string]json.RawMessage) (string, error)
}
