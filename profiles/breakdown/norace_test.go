//go:build !race

package breakdown

const underRace = false
