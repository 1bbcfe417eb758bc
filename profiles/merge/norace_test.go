//go:build !race

package merge

const underRace = false
