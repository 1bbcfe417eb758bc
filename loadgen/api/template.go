package api

import "bytes"

// A template recognises the events of one stream that differ from an earlier one in their text alone: nearly all of them. It saves
// the full walk, which costs twenty times as much.
type template struct{ before, after []byte }

// learn keeps the surroundings of text, which lies inside data.
func (t *template) learn(data, text []byte) {
	if t.before != nil || len(text) == 0 {
		return
	}
	from := cap(data) - cap(text)
	if from < 0 || from+len(text) > len(data) {
		return
	}
	t.before = bytes.Clone(data[:from])
	t.after = bytes.Clone(data[from+len(text):])
}

// match returns the body of the text if data is the learned event with another text. What stands between the learned
// parts must be the inside of one JSON string, so that nothing else can hide there.
func (t *template) match(data []byte) ([]byte, bool) {
	if t.before == nil || len(data) <= len(t.before)+len(t.after) ||
		!bytes.HasPrefix(data, t.before) || !bytes.HasSuffix(data, t.after) {
		return nil, false
	}
	text := data[len(t.before) : len(data)-len(t.after)]
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c < ' ':
			return nil, false
		case c == '\\':
			if i++; i == len(text) || bytes.IndexByte([]byte(`"\/bfnrtu`), text[i]) < 0 {
				return nil, false
			}
			if text[i] == 'u' {
				if len(text)-i <= 4 || !allHex(text[i+1:i+5]) {
					return nil, false
				}
				i += 4
			}
		}
	}
	return text, true
}

func allHex(b []byte) bool {
	for _, c := range b {
		if _, ok := hex(c); !ok {
			return false
		}
	}
	return true
}
