// Package sim is a look-alike of a vLLM server: the same requests, the same bytes on the
// wire, the same profiler endpoints and trace files, and in between an engine that computes
// nothing but takes time the way an inference engine does.
//
// It exists so that everything around it can be checked. What a client reports is compared
// with the simulator's own log (Server.Requests), what an analysis of a trace says with the
// steps that the engine really took (Server.Steps), and a search for the highest rate with the
// rate that the configuration can be shown to sustain (Config.Capacity).
//
// Two things it does not do. It proves nothing about the protocol, because it shares our
// reading of it; the wire formats are held against bytes recorded from a real server, here and
// in the client. And header names come in net/http's capitals, where uvicorn writes small
// letters.
//
// # Time
//
// The engine runs in steps on one goroutine. A step takes
//
//	HostGap + Launch + StepBase + PromptToken × prompt tokens + Sequence × decoding sequences
//
// of which HostGap lies between two steps (the device idles), Launch between the step's begin
// and the first work on the device, and the rest is device time. Every sequence in a step gets
// one token at its end, except one whose prompt is not yet complete. With Device "gaudi" an
// iteration holds separate batches for prompts and for decoding, each padded to a bucket; the
// padded sizes count, and the first use of a bucket costs a compile.
//
// With FirstToken set there are no steps to wait for: the first token of every request is due
// FirstToken after the request was received and one more each BetweenTokens, however many
// requests there are.
//
// # Profiler
//
// With Config.ProfileDir the server has /start_profile and /stop_profile, and writes on stop what a
// real one writes: on CUDA and CPU the worker's trace, its table and the front end's trace, on Gaudi one trace a rank. Rows carry the
// very times of the steps (see Step); only how a step's time splits into calls and kernels is made up. A Gaudi server's first file also holds the
// plugin's rows since the server began, as it does in reality.
//
// # Faults
//
// Config.Faults, the header X-Sim-Fault and the body key sim_fault say what goes wrong: statuses, delays, stalls, cut
// connections, broken and unusual streams. See Fault and ParseFault.
//
// # Repeatability
//
// What a request is answered depends on Config.Seed and on the request (its prompt, and its
// own seed when the temperature is not zero), never on the order of arrival. Faults that strike
// a share of the requests are drawn from the seed and the request's x-request-id, or, without
// one, its number.
package sim
