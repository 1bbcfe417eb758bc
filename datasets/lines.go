package datasets

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// A row is one record of a file and where it stands.
type row struct {
	fields
	place string // file:line
}

// longestLine bounds a line of a JSON Lines file, in bytes: images can stand inside.
const longestLine = 1 << 30

// readLines reads a file of one JSON object a line. Blank lines are passed over. It stops
// after limit rows, if that is above 0.
func readLines(path string, limit int) ([]row, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseLines(file, path, limit)
}

func parseLines(r io.Reader, name string, limit int) ([]row, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 1<<16), longestLine)
	var rows []row
	for n := 1; scanner.Scan(); n++ {
		place := fmt.Sprintf("%s:%d", name, n)
		line := scanner.Bytes()
		if n == 1 {
			line = []byte(strings.TrimPrefix(string(line), "\ufeff"))
		}
		if strings.TrimSpace(string(line)) == "" {
			continue
		}
		if !utf8.Valid(line) {
			return nil, fmt.Errorf("%s: not UTF-8", place)
		}
		v, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		object, ok := v.(fields)
		if !ok {
			return nil, fmt.Errorf("%s: %s, not a JSON object", place, kindOf(v))
		}
		rows = append(rows, row{object, place})
		if limit > 0 && len(rows) == limit {
			return rows, nil
		}
	}
	if err := scanner.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s:%d: a line longer than %d bytes", name, len(rows)+1, longestLine)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	return rows, nil
}
