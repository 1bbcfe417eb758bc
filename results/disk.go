package results

// What a record takes on disk, compressed: a request some BytesPerRequest, and each event of its stream BytesPerEvent more, most of it
// the digits of two times that nobody can foretell. BenchmarkMerge reports what a made-up run takes, TestDiskEstimate holds the
// estimate against one that varies more.
const (
	BytesPerRequest = 160
	BytesPerEvent   = 10
)

// EstimateDisk is how many bytes the records of so many requests will take at most, as a rule: each has so many events, and texts
// of so many bytes where they are kept.
func EstimateDisk(requests, events, text int) int64 {
	return int64(requests) * (BytesPerRequest + int64(events)*BytesPerEvent + int64(text))
}

// lowDisk is how much room there must be for a run to go on without a warning.
const lowDisk = 512 << 20
