package datasets

import "slices"

// A Harvest is a Tokenizer that knows only some ids of its model's vocabulary, such as
// one that asks a server and has seen no list. Prompts are made of these.
type Harvest interface {
	// IDs returns the ids that are known to make text, ascending.
	IDs() []int
}

// An AddedVocabulary is a Tokenizer that knows which of its added tokens are special,
// whether they have a name or not.
type AddedVocabulary interface {
	// AddedSpecialIDs returns the ids of all added tokens that are marked special, ascending.
	AddedSpecialIDs() []int
}

// A FullVocabulary is a Tokenizer that lists every id it has.
type FullVocabulary interface {
	// AllIDs returns the ids of the model and of all added tokens, ascending.
	AllIDs() []int
}

// everyID is every id, ascending: those of added tokens, too.
func everyID(tok Tokenizer) []int {
	switch t := tok.(type) {
	case FullVocabulary:
		return t.AllIDs()
	case Harvest:
		return t.IDs()
	}
	return upTo(0, tok.VocabSize())
}

// ordinary is the ids of the model's own vocabulary that are not in special, ascending.
func ordinary(tok Tokenizer, special []int) []int {
	n := tok.VocabSize()
	ids := upTo(0, n)
	if h, ok := tok.(Harvest); ok {
		ids = slices.Clone(h.IDs())
	}
	forbidden := make(map[int]bool, len(special))
	for _, id := range special {
		forbidden[id] = true
	}
	return slices.DeleteFunc(ids, func(id int) bool { return id < 0 || id >= n || forbidden[id] })
}

func upTo(low, high int) []int {
	out := make([]int, 0, max(0, high-low))
	for i := low; i < high; i++ {
		out = append(out, i)
	}
	return out
}
