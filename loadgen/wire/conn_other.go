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

// News is Info with the counts since the last News; false on this system.
func (c *Conn) News() (Info, bool) { return Info{}, false }

// Unread is how many bytes came that the client has not read; false on this system.
func (c *Conn) Unread() (int, bool) { return 0, false }

// Quiet says that the connection is open and has nothing to read, as far as this system tells: always.
func (c *Conn) Quiet() bool { return true }
