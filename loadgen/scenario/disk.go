package scenario

import (
	"fmt"

	"servebench/datasets"
	"servebench/results"
)

// diskSamples is how many samples of a data set tell how long its answers are.
const diskSamples = 200

// usualAnswer is how many events an answer is taken to have when its request sets no limit.
const usualAnswer = 512

// checkDisk compares what the records will take with the room that there is, before anything is sent. A run that cannot fit is refused;
// one that would take more than half of the room is told. The writer goes on watching.
func (r *runner) checkDisk(data datasets.Dataset, planned int) error {
	need := estimateDisk(data, r.warmupShare(planned), r.Report.Texts)
	free, known := results.FreeDisk(r.Dir)
	switch {
	case !known:
		return nil
	case need > free:
		return fmt.Errorf("the records of %d requests will take some %d MiB, and %s has %d MiB left: give --out on another disk", planned, need>>20, r.Dir, free>>20)
	case need > free/2:
		r.warn("the records of %d requests will take some %d MiB of the %d MiB that are left in %s", planned, need>>20, free>>20, r.Dir)
	}
	return nil
}

// estimateDisk is what so many requests for samples of a data set will take on disk.
func estimateDisk(data datasets.Dataset, requests int, texts bool) int64 {
	events := usualAnswer
	if data != nil && data.Len() > 0 {
		total, n := 0, min(data.Len(), diskSamples)
		for i := range n {
			// Spread over the whole, in case its beginning is unlike the rest.
			sample := data.At(i * data.Len() / n)
			if tokens := sample.OutputTokens; tokens > 0 {
				total += tokens
			} else {
				total += usualAnswer
			}
		}
		events = total / n
	}
	text := 0
	if texts {
		text = 3 * events // some four letters a token, packed
	}
	return results.EstimateDisk(requests, events, text)
}
