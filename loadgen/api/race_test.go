//go:build race

package api

// The race detector empties pools at random, so that what comes from them is allocated now and then.
func init() { raced = true }
