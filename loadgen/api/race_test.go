//go:build race

package api

// The race detector allocates where the program does not.
func init() { underRace = true }
