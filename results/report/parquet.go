package report

import (
	"io"
	"reflect"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"servebench/results"
	"servebench/results/summary"
)

// RequestsSchema names the layout of requests.parquet in the file's own metadata. Within a version columns are only added.
const RequestsSchema = "servebench.requests/1"

// eventsColumn holds the moments of a request's events, in nanoseconds of Unix time.
const eventsColumn = "events_ns"

// A group of rows is written once it holds so many rows or events: that much is held in memory, whatever the length of the run.
const (
	groupRows   = 1 << 16
	groupEvents = 1 << 20
)

// Parquet writes one row a request, with the columns of RequestsCSV and the moments of all its events. What was not measured is null.
func Parquet(w io.Writer, s *summary.Summary, records Records) error {
	columns := requestColumns(s.Basis)
	out := parquet.NewWriter(w, requestsSchema(columns),
		parquet.Compression(&zstd.Codec{}), parquet.DefaultEncodingFor(parquet.Int64, &parquet.DeltaBinaryPacked), // neighbours are alike
		parquet.CreatedBy("servebench", "", ""),
		parquet.KeyValueMetadata("servebench.schema", RequestsSchema), parquet.KeyValueMetadata("servebench.basis", string(s.Basis)))
	var row parquet.Row
	rows, events := 0, 0
	for rec, err := range records {
		if err != nil {
			return err
		}
		row = row[:0]
		for i, c := range columns {
			v := parquet.NullValue()
			switch value := c.value(rec).(type) {
			case string:
				v = parquet.ByteArrayValue([]byte(strings.ToValidUTF8(value, "\uFFFD")))
			case int64:
				v = parquet.Int64Value(value)
			case float64:
				v = parquet.DoubleValue(value)
			case bool:
				v = parquet.BooleanValue(value)
			}
			defined := 1
			if v.IsNull() {
				defined = 0
			}
			row = append(row, v.Level(0, defined, i))
		}
		row = appendEvents(row, rec, len(columns))
		if _, err := out.WriteRows([]parquet.Row{row}); err != nil {
			return err
		}
		rows, events = rows+1, events+len(rec.Chunks)
		if rows >= groupRows || events >= groupEvents {
			if err := out.Flush(); err != nil {
				return err
			}
			rows, events = 0, 0
		}
	}
	return out.Close()
}

// appendEvents appends the moments of a record's events, a list in column i.
func appendEvents(row parquet.Row, rec *results.Record, i int) parquet.Row {
	if len(rec.Chunks) == 0 {
		return append(row, parquet.NullValue().Level(0, 0, i))
	}
	for n := range rec.Chunks {
		row = append(row, parquet.Int64Value(int64(rec.Chunks[n].At)).Level(min(n, 1), 1, i))
	}
	return row
}

// requestsSchema has the columns in their order, which a schema made of parquet.Group would not keep.
func requestsSchema(columns []requestColumn) *parquet.Schema {
	field := func(name string, of reflect.Type, tag string) reflect.StructField {
		return reflect.StructField{Name: "F" + name, Type: of, Tag: reflect.StructTag(`parquet:"` + name + `,` + tag + `"`)}
	}
	var fields []reflect.StructField
	for _, c := range columns {
		tag := "optional"
		if _, isText := c.kind.(string); isText && c.name != "request_id" {
			tag += ",dict"
		}
		fields = append(fields, field(c.name, reflect.TypeOf(c.kind), tag))
	}
	fields = append(fields, field(eventsColumn, reflect.TypeFor[[]int64](), ""))
	return parquet.NewSchema("requests", parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface()))
}
