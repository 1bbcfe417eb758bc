//go:build !linux

package wire

import "net"

// A kernelConn does not exist here: this system's kernel stamps no TCP bytes.
type kernelConn struct{}

func newKernelConn(*Conn) *kernelConn                    { return nil }
func (*kernelConn) read([]byte) (Read, error)            { return Read{}, net.ErrClosed }
func (*kernelConn) write([]byte, *Exchange) (int, error) { return 0, net.ErrClosed }
func (*kernelConn) collect()                             {}
func (c *Conn) disordered() bool                         { return false }

// Info is what the kernel knows about the connection; false on this system.
func (c *Conn) Info() (Info, bool) { return Info{}, false }
