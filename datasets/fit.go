package datasets

// A fit is a prompt on its way to an exact number of tokens. Text made of chosen ids is
// seldom read back as the same ids, so it is cut or filled up and made again, up to ten
// times.
type fit struct {
	ids    []int
	target int
	text   string
	tries  int // corrections made
	// missing is how many ids have to be filled in before it can go on; 0 when done.
	missing int
}

const fitBudget = 10

// run goes on until the prompt fits, the budget is used up, or ids are missing.
func (f *fit) run(tok Tokenizer) error {
	f.missing = 0
	for {
		var err error
		if f.text, err = tok.Decode(f.ids); err != nil {
			return err
		}
		if f.ids, err = tok.Encode(f.text, false); err != nil {
			return err
		}
		switch {
		case f.tries == fitBudget || len(f.ids) == f.target:
			return nil
		case len(f.ids) < f.target:
			f.missing = f.target - len(f.ids)
			return nil
		}
		f.ids = f.ids[:f.target]
		f.tries++
	}
}

// finish fills in what is missing, from draw, until the prompt is done.
func (f *fit) finish(tok Tokenizer, draw func(n int) []int) error {
	for f.missing > 0 {
		f.ids = append(f.ids, draw(f.missing)...)
		f.tries++
		if err := f.run(tok); err != nil {
			return err
		}
	}
	return nil
}

// mismatch is how many ids the prompt has too many.
func (f *fit) mismatch() int { return len(f.ids) - f.target }

// fitted is a prompt of target tokens made from ids.
func fitted(tok Tokenizer, ids []int, target int, draw func(n int) []int) (*fit, error) {
	f := &fit{ids: ids, target: target}
	if err := f.run(tok); err != nil {
		return nil, err
	}
	return f, f.finish(tok, draw)
}
