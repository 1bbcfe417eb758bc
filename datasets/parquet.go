package datasets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

// parquetRows reads a Parquet file of any shape.
func parquetRows(path string, yield func(row, error) bool) (more bool) {
	fault := func(err error) bool {
		yield(row{}, fmt.Errorf("%s: %w", path, err))
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		yield(row{}, err)
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fault(err)
	}
	read, closeReader, columns, err := openParquet(file, info.Size())
	if err != nil {
		return fault(err)
	}
	defer closeReader()
	batch := make([]any, 16)
	for at := 0; ; {
		clear(batch)
		n, err := read(batch)
		for _, v := range batch[:n] {
			place := fmt.Sprintf("%s: row %d", path, at)
			at++
			object, ok := fieldsOf(columns, v)
			if !ok {
				return fault(fmt.Errorf("row %d is %T", at-1, v))
			}
			if !yield(row{object, place}, nil) {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return fault(err)
		case n == 0:
			return fault(io.ErrNoProgress)
		}
	}
}

// openParquet opens a file. The library panics on some files that are cut or forged;
// that is an error here.
func openParquet(r io.ReaderAt, size int64) (read func([]any) (int, error), closeReader func(), columns []*parquet.Column, err error) {
	defer broken(&err)
	if err := checkFooter(r, size); err != nil {
		return nil, nil, nil, err
	}
	file, err := parquet.OpenFile(r, size)
	if err != nil {
		return nil, nil, nil, err
	}
	reader := parquet.NewGenericReader[any](file)
	read = func(batch []any) (n int, err error) {
		defer broken(&err)
		return reader.Read(batch)
	}
	closeReader = func() {
		var err error
		defer broken(&err)
		reader.Close() //nolint:errcheck // nothing was written
	}
	return read, closeReader, file.Root().Columns(), nil
}

// checkFooter walks the description of a file before the library does, which believes
// every length it reads and asks for as much memory.
func checkFooter(r io.ReaderAt, size int64) error {
	var tail [8]byte
	if _, err := r.ReadAt(tail[:], size-8); size < 12 || err != nil && !errors.Is(err, io.EOF) || string(tail[4:]) != "PAR1" {
		return errors.New("not a Parquet file, or cut short")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n > size-12 {
		return fmt.Errorf("a Parquet file of %d bytes with a footer of %d", size, n)
	}
	footer := make([]byte, n)
	if _, err := r.ReadAt(footer, size-8-n); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if w := (&thrift{data: footer}); !w.structure(0) {
		return errors.New("a Parquet file whose footer is broken")
	}
	return nil
}

// A thrift walks over values in Thrift's compact encoding.
type thrift struct{ data []byte }

func (w *thrift) varint() (uint64, bool) {
	v, n := binary.Uvarint(w.data)
	if n <= 0 {
		return 0, false
	}
	w.data = w.data[n:]
	return v, true
}

func (w *thrift) skip(n uint64) bool {
	if n > uint64(len(w.data)) {
		return false
	}
	w.data = w.data[n:]
	return true
}

func (w *thrift) byte() (byte, bool) {
	if len(w.data) == 0 {
		return 0, false
	}
	b := w.data[0]
	w.data = w.data[1:]
	return b, true
}

func (w *thrift) structure(depth int) bool {
	for {
		head, ok := w.byte()
		if !ok || head == 0 {
			return ok
		}
		if head>>4 == 0 { // the number of the field follows
			if _, ok := w.varint(); !ok {
				return false
			}
		}
		if kind := head & 15; kind > 2 && !w.value(kind, depth+1) { // 1 and 2 are booleans
			return false
		}
	}
}

func (w *thrift) value(kind byte, depth int) bool {
	if depth > 64 {
		return false
	}
	switch kind {
	case 1, 2, 3: // a boolean in a list, or a byte
		return w.skip(1)
	case 4, 5, 6:
		_, ok := w.varint()
		return ok
	case 7:
		return w.skip(8)
	case 8:
		n, ok := w.varint()
		return ok && w.skip(n)
	case 9, 10:
		head, ok := w.byte()
		n := uint64(head >> 4)
		if n == 15 {
			n, ok = w.varint()
		}
		if !ok || n > uint64(len(w.data)) {
			return false
		}
		for range n {
			if !w.value(head&15, depth+1) {
				return false
			}
		}
		return true
	case 12:
		return w.structure(depth)
	}
	return false // maps do not occur
}

func broken(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("not a Parquet file that can be read: %v", p)
	}
}

// fieldsOf puts the members of a group into the order of the file.
func fieldsOf(columns []*parquet.Column, v any) (fields, bool) {
	members, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	out := make(fields, len(columns))
	for i, c := range columns {
		out[i] = field{c.Name(), valueOf(c, members[c.Name()])}
	}
	return out, true
}

// valueOf is what the library read of a column. It makes lists of the groups that stand
// for lists, and strings of all byte arrays.
func valueOf(c *parquet.Column, v any) value {
	switch v := v.(type) {
	case []any:
		element := c
		if inner := c.Columns(); len(inner) == 1 && len(inner[0].Columns()) == 1 && inner[0].Repeated() {
			element = inner[0].Columns()[0]
		}
		out := make([]value, len(v))
		for i := range v {
			out[i] = valueOf(element, v[i])
		}
		return out
	case map[string]any:
		out, _ := fieldsOf(c.Columns(), v)
		return out
	case string:
		if c.Leaf() && c.Type().LogicalType() == nil {
			return []byte(v)
		}
		return v
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case int64, float64, bool, nil:
		return v
	case uint32:
		return int64(v)
	case float32:
		return float64(v)
	}
	return fmt.Sprint(v)
}
