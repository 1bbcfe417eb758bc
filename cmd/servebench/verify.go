package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
	"servebench/results"
	"servebench/results/report"
	"servebench/results/summary"
)

// shownDifferences is how many differences of one file are printed.
const shownDifferences = 20

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify RUN...",
		Short: "Derive every number of a run again and say what does not agree",
		Long: `verify reads every record of a run, holds the files against the hashes and counts in the manifest and the last line, derives every
figure again, and compares them with the reports in the folder. It says what does not agree, and fails then.`,
		Example: "  servebench verify runs/gaudi-e2e-multi-20260102-030405",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("verify takes run folders")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			bad := 0
			for _, dir := range args {
				problems, agreed, err := verify(dir)
				if err != nil {
					return failed(err)
				}
				for _, p := range problems {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", dir, p)
				}
				if len(problems) > 0 {
					bad++
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", dir, agreed)
			}
			if bad > 0 {
				return exitCode{code: exitFailed}
			}
			return nil
		},
	}
	return cmd
}

// verify is what does not agree in a run folder; agreed says what does.
func verify(dir string) (problems []string, agreed string, err error) {
	run, err := results.Open(dir)
	if err != nil {
		return nil, "", err
	}
	defer run.Close()
	problems = run.Verify()
	s, err := summary.OfRun(run)
	if err != nil {
		return append(problems, err.Error()), "", nil
	}
	texts, err := scenario.Texts(s)
	if err != nil {
		return problems, "", err
	}
	agreed = fmt.Sprintf("%d records agree with the last line and the manifest", run.Len())
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		kept, err := run.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a run that died has none
		}
		if err != nil {
			return problems, "", err
		}
		if bytes.Equal(kept, texts[name]) {
			agreed += ", " + name + " with the records"
			continue
		}
		problems = append(problems, disagreements(name, kept, texts[name])...)
		if tool := results.ToolVersion(); run.Manifest().Tool != tool {
			problems = append(problems, fmt.Sprintf("%s was written by %q, this is %q: a difference can be one of versions", name, run.Manifest().Tool, tool))
		}
	}
	for _, format := range run.Manifest().Settings.Formats {
		name := report.FileName(format)
		if _, known := texts[name]; known || name == "" {
			continue
		}
		same, err := derives(run, s, format, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return problems, "", err
		case same:
			agreed += ", " + name + " with the records"
		default:
			problems = append(problems, name+" is not what the records give")
		}
	}
	return problems, agreed, nil
}

// derives says whether the report of a format is byte for byte what the records give. Neither is held in memory.
func derives(run *results.Run, s *summary.Summary, format, name string) (bool, error) {
	kept, err := os.Open(filepath.Join(run.Dir(), name))
	if err != nil {
		return false, err
	}
	defer kept.Close()
	c := &comparer{kept: kept}
	if err := report.Write(c, format, s, run.Records()); err != nil {
		return false, err
	}
	n, err := kept.Read(make([]byte, 1))
	return !c.differs && n == 0 && err == io.EOF, nil
}

// A comparer holds what is written against what was kept.
type comparer struct {
	kept    io.Reader
	differs bool
}

func (c *comparer) Write(b []byte) (int, error) {
	there := make([]byte, len(b))
	if _, err := io.ReadFull(c.kept, there); err != nil || !bytes.Equal(there, b) {
		c.differs = true
	}
	return len(b), nil
}

// disagreements say where a report differs from the one that the records give.
func disagreements(name string, kept, derived []byte) []string {
	found, err := results.Differences(kept, derived)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("%s: %v", name, err)}
	case len(found) == 0:
		return []string{name + " holds the right figures, but not in the right form"}
	}
	var list []string
	for i, d := range found {
		if i == shownDifferences {
			list = append(list, fmt.Sprintf("%s: and %d more", name, len(found)-i))
			break
		}
		said, is := d.A, d.B
		if said == "" {
			said = "absent"
		}
		if is == "" {
			is = "none"
		}
		list = append(list, fmt.Sprintf("%s: %s is %s, the records give %s", name, d.Path, said, is))
	}
	return list
}
