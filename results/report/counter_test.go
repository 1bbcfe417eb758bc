package report

import (
	"testing"

	"servebench/datasets/tokenizer"
)

// counter counts the tokens of a text with the tokenizer that the case names; nil when it names none.
func counter(t *testing.T, folder string) func(string) int {
	if folder == "" {
		return nil
	}
	var tok *tokenizer.Tokenizer
	return func(text string) int {
		if tok == nil {
			var err error
			if tok, err = tokenizer.Load(golden(t, folder)); err != nil {
				t.Fatal(err)
			}
		}
		ids, err := tok.Encode(text, false)
		if err != nil {
			t.Fatal(err)
		}
		return len(ids)
	}
}
