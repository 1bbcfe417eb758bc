//go:build !linux || 386 || s390x

package main

import "errors"

func run(config) error {
	return errors.New("runs on Linux only: it stamps what it sends in the kernel")
}
