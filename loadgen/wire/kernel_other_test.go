//go:build !linux

package wire

const kernelStamps = false
