package datasets

import (
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
