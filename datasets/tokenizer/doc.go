// Package tokenizer turns text into the ids a model counts by, and ids back into
// text, in plain Go. It reads what a model's folder holds (tokenizer.json and the
// files beside it, or a tiktoken rank file), gives the same ids as the Rust
// library those files were written for, renders chat templates, and finds the
// folder: on disk, in the Hugging Face cache, or on the Hub.
//
// A file may name a part this package does not have. Then loading fails and says
// which part: a count of tokens that is almost right is worse than none.
//
//	tok, err := tokenizer.Load("models/llama")
//	ids, err := tok.Encode("Hello", true)
//	text, err := tok.Decode(ids)
//
// A Tokenizer is safe for concurrent use.
package tokenizer
