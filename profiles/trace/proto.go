package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The little of the protobuf wire format that a Perfetto trace needs.

const (
	wireVarint = 0
	wireFixed  = 1
	wireBytes  = 2
	wireFixed4 = 5
)

func appendUvarint(dst []byte, field int, v uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireVarint)
	return binary.AppendUvarint(dst, v)
}

func appendFixed64(dst []byte, field int, v uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireFixed)
	return binary.LittleEndian.AppendUint64(dst, v)
}

func appendBytes(dst []byte, field int, v []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireBytes)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendText(dst []byte, field int, v string) []byte {
	dst = binary.AppendUvarint(dst, uint64(field)<<3|wireBytes)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// A field is one field of a message.
type field struct {
	number int
	wire   int
	value  uint64 // of a varint or a fixed number
	bytes  []byte
}

var errShort = errors.New("the message ends inside a field")

// eachField walks the fields of a message.
func eachField(b []byte, f func(field) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errShort
		}
		b = b[n:]
		x := field{number: int(key >> 3), wire: int(key & 7)}
		if x.number == 0 {
			return errors.New("field number 0")
		}
		switch x.wire {
		case wireVarint:
			x.value, n = binary.Uvarint(b)
			if n <= 0 {
				return errShort
			}
			b = b[n:]
		case wireFixed:
			if len(b) < 8 {
				return errShort
			}
			x.value, b = binary.LittleEndian.Uint64(b), b[8:]
		case wireFixed4:
			if len(b) < 4 {
				return errShort
			}
			x.value, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		case wireBytes:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errShort
			}
			x.bytes, b = b[n:n+int(size)], b[n+int(size):]
		default:
			return fmt.Errorf("field %d has wire type %d", x.number, x.wire)
		}
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}
