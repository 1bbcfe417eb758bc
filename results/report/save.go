package report

import (
	"fmt"
	"os"
	"path/filepath"

	"servebench/results"
)

// Save writes a result file whole or not at all; what stood there is replaced, as by vLLM. The folder is made.
func Save(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	return results.WriteFile(file, data)
}

// Append adds a result to a file of one result a line, whose last line has no end.
func Append(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		if info.Size() > 0 {
			data = append([]byte{'\n'}, data...)
		}
		if _, err = f.Write(data); err != nil {
			// A half result would spoil the whole file for its readers.
			_ = f.Truncate(info.Size())
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	return nil
}
