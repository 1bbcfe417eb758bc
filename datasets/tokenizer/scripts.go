package tokenizer

// splitScripts cuts where the script of the characters changes.
func splitScripts(p piece, out []piece) []piece {
	return append(out, p)
}
