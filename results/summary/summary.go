// Package summary turns records into numbers: vLLM's own arithmetic bit for bit, the same
// figures from the kernel's stamps, and the health of the client that took them.
//
// A Recorder is fed one record after another, live or from a saved run; both give the same
// summary. It holds exact samples up to a stated number and histograms beyond.
package summary

import "servebench/results"

// A Summary is everything that reports say about a run.
type Summary struct {
	// Manifest says how the run was made.
	Manifest *results.Manifest
	// Complete is false for a run that died, is still going on, or lost records; Why says which.
	Complete bool
	Why      string

	// VLLM are the figures of the first table, on the manifest's basis, from Outputs in dispatch order. Outputs is nil
	// when there were too many to keep; the statistics come from histograms then.
	VLLM    *VLLM
	Outputs []Output
	// Probes, Spec and Diffusion are nil when there were none.
	Probes    *Probes
	Spec      *SpecDecode
	Diffusion *Diffusion
}
