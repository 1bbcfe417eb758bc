package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// addedToken is a token found in the text before the model sees it.
type addedToken struct {
	content    string
	singleWord bool // only between characters that belong to no word
	lstrip     bool // takes the space before it
	rstrip     bool // takes the space after it
	normalized bool // looked for in the normalized text
	special    bool
}

// addedVocabulary holds the added tokens of one tokenizer.
type addedVocabulary struct {
	ids     map[string]int32
	tokens  map[int32]addedToken
	special map[string]bool
	// normal is the normalized form of a token, where it differs.
	normal map[int32]string
	// raw and cooked find the tokens looked for before and after normalizing.
	raw, cooked matcher
	// split makes special tokens ordinary text.
	split bool
}

func newAddedVocabulary() *addedVocabulary {
	return &addedVocabulary{ids: map[string]int32{}, tokens: map[int32]addedToken{}, special: map[string]bool{}, normal: map[int32]string{}}
}

// add takes tokens in order. One that the model knows keeps the model's id; others
// get the ids after all that exist, whatever the file says they had: gaps close.
func (v *addedVocabulary) add(tokens []addedToken, m model, normalize func(string) string) {
	next := int32(m.size())
	for id := range v.tokens {
		if id >= next || m.size() == 0 {
			next = max(next, id+1)
		}
	}
	for _, token := range tokens {
		if token.content == "" {
			continue
		}
		id, ok := v.ids[token.content]
		if ok && v.tokens[id] == token {
			continue
		}
		if !ok {
			if id, ok = m.id(token.content); !ok {
				id = next
				next++
			}
		}
		if token.normalized && normalize != nil {
			if normal := normalize(token.content); normal != token.content {
				v.normal[id] = normal
			}
		}
		v.ids[token.content] = id
		if token.special {
			v.special[token.content] = true
		}
		v.tokens[id] = token
	}
}

// build makes the matchers, once all tokens are in. Of two tokens that look the same
// once normalized the one with the lower id is found.
func (v *addedVocabulary) build() error {
	v.raw, v.cooked = matcher{}, matcher{}
	for _, id := range slices.Sorted(maps.Keys(v.tokens)) {
		token := v.tokens[id]
		into, pattern := &v.raw, token.content
		if token.normalized {
			into = &v.cooked
			if normal, ok := v.normal[id]; ok {
				pattern = normal
			}
		}
		if pattern == "" {
			return fmt.Errorf("added_tokens: %q is empty once normalized", token.content)
		}
		into.put(pattern, id)
	}
	return nil
}

// text is how an added token is decoded.
func (v *addedVocabulary) text(id int32) (string, bool) {
	token, ok := v.tokens[id]
	if !ok {
		return "", false
	}
	if normal, ok := v.normal[id]; ok {
		return normal, true
	}
	return token.content, true
}

// cut calls text for each stretch between the tokens that m finds, and token for
// each of them, in order. begins is true for a stretch at the start of text.
func (v *addedVocabulary) cut(m *matcher, text string, emit func(from, to int, id int32)) {
	from := 0
	for at := 0; at < len(text); {
		start, stop, id := m.find(text, at)
		if id < 0 {
			break
		}
		at = stop
		token := v.tokens[id]
		if v.split && v.special[token.content] {
			continue
		}
		if token.singleWord {
			if start > 0 {
				if r, _ := utf8.DecodeLastRuneInString(text[:start]); isWord(r) {
					continue
				}
			}
			if stop < len(text) {
				if r, _ := utf8.DecodeRuneInString(text[stop:]); isWord(r) {
					continue
				}
			}
		}
		if token.lstrip {
			start = max(len(strings.TrimRightFunc(text[:start], isWhite)), from)
		}
		if token.rstrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], isWhite))
		}
		if start >= stop {
			continue // the token before took this one with the space around it
		}
		if from < start {
			emit(from, start, -1)
		}
		emit(start, stop, id)
		from = stop
	}
	if from != len(text) {
		emit(from, len(text), -1)
	}
}

// matcher finds the leftmost of many strings in a text, and of those that start
// there the longest.
type matcher struct {
	nodes []trieNode
	first [256]bool
	only  byte // the one first byte, when there is one
	count int  // how many first bytes there are
}

type trieNode struct {
	id   int32 // -1: no string ends here
	next []trieEdge
}

type trieEdge struct {
	label byte
	node  int32
}

// put adds a string. One that is there already stays what it was.
func (m *matcher) put(text string, id int32) {
	if len(m.nodes) == 0 {
		m.nodes = []trieNode{{id: -1}}
	}
	if !m.first[text[0]] {
		m.first[text[0]] = true
		m.only = text[0]
		m.count++
	}
	node := int32(0)
	for i := range len(text) {
		next := m.step(node, text[i])
		if next < 0 {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, trieNode{id: -1})
			m.nodes[node].next = append(m.nodes[node].next, trieEdge{text[i], next})
		}
		node = next
	}
	if m.nodes[node].id < 0 {
		m.nodes[node].id = id
	}
}

func (m *matcher) step(node int32, label byte) int32 {
	for _, edge := range m.nodes[node].next {
		if edge.label == label {
			return edge.node
		}
	}
	return -1
}

func (m *matcher) find(text string, at int) (start, stop int, id int32) {
	if m.count == 0 {
		return 0, 0, -1
	}
	for i := at; i < len(text); i++ {
		if m.count == 1 {
			n := strings.IndexByte(text[i:], m.only)
			if n < 0 {
				break
			}
			i += n
		} else if !m.first[text[i]] {
			continue
		}
		id, stop = -1, 0
		for node, j := int32(0), i; ; j++ {
			if m.nodes[node].id >= 0 {
				id, stop = m.nodes[node].id, j
			}
			if j == len(text) {
				break
			}
			if node = m.step(node, text[j]); node < 0 {
				break
			}
		}
		if id >= 0 {
			return i, stop, id
		}
	}
	return 0, 0, -1
}
