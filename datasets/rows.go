package datasets

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// A rowReader gives the rows of one file.
type rowReader func(path string, yield func(row, error) bool) (more bool)

// readers are those of the kinds of files that sets come in.
var readers = map[string]rowReader{
	".jsonl":    text(jsonRows),
	".json":     text(jsonRows),
	".csv":      text(csvRows(',')),
	".tsv":      text(csvRows('\t')),
	".jsonl.gz": text(jsonRows),
	".json.gz":  text(jsonRows),
	".csv.gz":   text(csvRows(',')),
	".parquet":  parquetRows,
}

// extension is how the name of a file ends, with the kind of compression.
func extension(path string) string {
	ext := filepath.Ext(path)
	if ext == ".gz" {
		ext = filepath.Ext(strings.TrimSuffix(path, ext)) + ext
	}
	return strings.ToLower(ext)
}

// rowsOf gives the rows of files one after another. A fault ends it.
func rowsOf(from store, files []string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for _, name := range files {
			path, err := from.file(name)
			if err != nil {
				yield(row{}, err)
				return
			}
			if !readers[extension(path)](path, yield) {
				return
			}
		}
	}
}

// text opens a file, through gzip if its name says so.
func text(read func(r io.Reader, name string, yield func(row, error) bool) bool) rowReader {
	return func(path string, yield func(row, error) bool) bool {
		file, err := os.Open(path)
		if err != nil {
			yield(row{}, err)
			return false
		}
		defer file.Close()
		var r io.Reader = file
		if strings.HasSuffix(path, ".gz") {
			if r, err = gzip.NewReader(file); err != nil {
				yield(row{}, fmt.Errorf("%s: %w", path, err))
				return false
			}
		}
		return read(bufio.NewReaderSize(r, 1<<16), path, yield)
	}
}

// jsonRows reads a list of objects, or one object after another.
func jsonRows(r io.Reader, name string, yield func(row, error) bool) bool {
	fault := func(place string, err error) bool {
		yield(row{}, fmt.Errorf("%s: %w", place, err))
		return false
	}
	buffered, ok := r.(*bufio.Reader)
	if !ok {
		buffered = bufio.NewReader(r)
	}
	inList := false
	for { // look at the first byte that is not blank
		c, err := buffered.ReadByte()
		if errors.Is(err, io.EOF) {
			return fault(name, errors.New("no rows"))
		}
		if err != nil {
			return fault(name, err)
		}
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == 0xef || c == 0xbb || c == 0xbf {
			continue
		}
		inList = c == '['
		if err := buffered.UnreadByte(); err != nil {
			return fault(name, err)
		}
		break
	}
	d := json.NewDecoder(buffered)
	d.UseNumber()
	if inList {
		if _, err := d.Token(); err != nil {
			return fault(name, err)
		}
	}
	for n := 1; ; n++ {
		place := fmt.Sprintf("%s: row %d", name, n)
		if inList && !d.More() {
			if _, err := d.Token(); err != nil {
				return fault(name, err)
			}
			return true
		}
		v, err := next(d, 0)
		if errors.Is(err, io.EOF) && !inList {
			return true
		}
		if err != nil {
			return fault(place, err)
		}
		object, ok := v.(fields)
		if !ok {
			return fault(place, fmt.Errorf("%s, not an object", kindOf(v)))
		}
		if !yield(row{object, place}, nil) {
			return false
		}
	}
}

// csvRows reads columns named by the first line.
func csvRows(comma rune) func(io.Reader, string, func(row, error) bool) bool {
	return func(r io.Reader, name string, yield func(row, error) bool) bool {
		c := csv.NewReader(r)
		c.Comma = comma
		header, err := c.Read()
		if err != nil {
			yield(row{}, fmt.Errorf("%s: %w", name, err))
			return false
		}
		header[0] = strings.TrimPrefix(header[0], "\ufeff")
		for {
			record, err := c.Read()
			if errors.Is(err, io.EOF) {
				return true
			}
			if err != nil {
				yield(row{}, fmt.Errorf("%s: %w", name, err))
				return false
			}
			object := make(fields, len(header))
			for i, key := range header {
				object[i] = field{key, record[i]}
			}
			line, _ := c.FieldPos(0)
			if !yield(row{object, fmt.Sprintf("%s:%d", name, line)}, nil) {
				return false
			}
		}
	}
}
