//go:build race

package merge

// underRace says that the race detector is on: tests over many real traces then take a few
// of them, since they have no goroutines that the others have not.
const underRace = true
