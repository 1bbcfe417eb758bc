package tokenizer

// HasTemplate says whether the folder has a chat template.
func (t *Tokenizer) HasTemplate() bool { return len(t.config.templates) > 0 }
