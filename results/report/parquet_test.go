package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"servebench/results"
	"servebench/results/summary"
)

func openParquet(t *testing.T, file []byte) *parquet.File {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// rowsOf reads groups of rows: each row's values by column, those of a list joined by blanks, and nothing for a null.
func rowsOf(t *testing.T, f *parquet.File, groups ...parquet.RowGroup) (rows []map[string]string) {
	t.Helper()
	names := f.Schema().Columns()
	for _, group := range groups {
		reader := group.Rows()
		for batch := make([]parquet.Row, 10); ; {
			n, err := reader.ReadRows(batch)
			for _, row := range batch[:n] {
				values := map[string][]string{}
				for _, v := range row {
					if !v.IsNull() {
						name := names[v.Column()][0]
						values[name] = append(values[name], v.String())
					}
				}
				cells := map[string]string{}
				for name, list := range values {
					cells[name] = strings.Join(list, " ")
				}
				rows = append(rows, cells)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		reader.Close()
	}
	return rows
}

func TestParquetHoldsWhatTheTableHolds(t *testing.T) {
	m, recs := sample(nil)
	s := sumUp(m, recs)
	var file, table bytes.Buffer
	if err := Write(&file, "parquet", s, seqOf(recs)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&table, "requests-csv", s, seqOf(recs)); err != nil {
		t.Fatal(err)
	}
	f := openParquet(t, file.Bytes())
	rows := rowsOf(t, f, f.RowGroups()...)
	want, err := csv.NewReader(&table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 120 || len(want) != 121 {
		t.Fatalf("%d rows, and %d lines in the table; want 120, 121", len(rows), len(want))
	}
	columns := f.Schema().Columns()
	if len(columns) != len(want[0])+1 || columns[len(columns)-1][0] != "events_ns" {
		t.Errorf("columns are %v", columns)
	}
	for i, name := range want[0] {
		if columns[i][0] != name {
			t.Errorf("column %d is %v, want %s", i, columns[i], name)
		}
		for n, row := range rows {
			got := row[name]
			if strings.HasSuffix(name, "_ms") && got != "" {
				v, err := strconv.ParseFloat(got, 64)
				if err != nil {
					t.Fatal(err)
				}
				got = number(v)
			}
			if got != want[n+1][i] {
				t.Fatalf("row %d, %s: %q, want %q", n, name, got, want[n+1][i])
			}
		}
	}
	for _, tc := range []struct {
		row        int
		name, want string
	}{
		{0, "ttft_ms", "100"}, {0, "events_ns", "1700000000101050000 1700000000111050000 1700000000121050000 1700000000131050000"},
		{0, "cached_tokens", "64"}, {50, "ok", "false"}, {50, "events_ns", ""}, {50, "ttft_ms", ""}, {50, "failure", "status"},
		{50, "message", "too many requests | <b>"}, {51, "status", ""}, {51, "due_ns", "1700000000510000000"}, {0, "message", ""},
	} {
		if got := rows[tc.row][tc.name]; got != tc.want {
			t.Errorf("row %d, %s: %q, want %q", tc.row, tc.name, got, tc.want)
		}
	}
	for key, want := range map[string]string{"servebench.schema": "servebench.requests/1", "servebench.basis": "service"} {
		if got, _ := f.Lookup(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// TestParquetIsAStream writes far more than a group of rows holds, and looks at what stays in memory meanwhile.
func TestParquetIsAStream(t *testing.T) {
	const requests, events = 3500, 1000 // 28 MB of moments
	at := func(i int) *results.Record {
		rec := &results.Record{ID: i, Kind: results.Load, RequestID: fmt.Sprintf("bench-%08d", i), Reply: results.Reply{Chunks: make([]results.Chunk, events)}}
		for n := range rec.Chunks {
			rec.Chunks[n].At = results.Moment(1_700_000_000_000_000_000 + i*7_919_017 + n*(20_000_000+i*n%1_000_003))
		}
		return rec
	}
	var most uint64
	var mem runtime.MemStats
	path := filepath.Join(t.TempDir(), "requests.parquet")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	runtime.GC()
	runtime.ReadMemStats(&mem)
	before := mem.HeapAlloc
	if err := Parquet(file, &summary.Summary{Basis: results.Service}, func(yield func(*results.Record, error) bool) {
		for i := range requests {
			if i%500 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&mem)
				most = max(most, mem.HeapAlloc)
			}
			if !yield(at(i), nil) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if held := int64(most) - int64(before); held > 12<<20 {
		t.Errorf("%d MB are held in memory", held>>20)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := openParquet(t, text)
	if groups := f.RowGroups(); f.NumRows() != requests || len(groups) != 4 {
		t.Fatalf("%d rows in %d groups, want %d in 4", f.NumRows(), len(groups), requests)
	}
	rows := rowsOf(t, f, f.RowGroups()[3])
	last := rows[len(rows)-1]
	list := strings.Fields(last["events_ns"])
	if want := strconv.FormatInt(int64(at(3499).Chunks[999].At), 10); len(list) != events || list[999] != want || last["id"] != "3499" {
		t.Errorf("the last request has %d events, the last of them at %s; want %d, %s", len(list), list[len(list)-1], events, want)
	}
}

func TestParquetSaysWhichRecordsCannotBeRead(t *testing.T) {
	err := Write(io.Discard, "parquet", &summary.Summary{}, func(yield func(*results.Record, error) bool) { yield(nil, io.ErrUnexpectedEOF) })
	if err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

// The manual names every column.
func TestManualNamesEveryColumn(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "requests.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range requestColumns(results.Service) {
		if !bytes.Contains(manual, []byte("`"+c.name+"`")) {
			t.Errorf("%s is not in the manual", c.name)
		}
	}
}
