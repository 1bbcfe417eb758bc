//go:build !386 && !s390x

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"
)

// A record is what the log says of one request. Times are CLOCK_REALTIME nanoseconds; a time that the kernel did not give is null.
type record struct {
	// ID is the request's x-request-id, or its number.
	ID string `json:"id"`
	// Conn numbers the connection, from 0: a number seen before is a connection that was used again.
	Conn int `json:"conn"`
	// Received is the kernel's stamp of the request's last segment, Seen when the server had read it.
	Received moment `json:"received_ns"`
	Seen     moment `json:"seen_ns"`
	// HeadersBefore and HeadersAfter enclose the write of the headers; HeadersSent is the kernel's stamp. With -joined they are those of the first chunk.
	HeadersBefore moment `json:"headers_before_ns"`
	HeadersAfter  moment `json:"headers_after_ns"`
	HeadersSent   moment `json:"headers_sent_ns"`
	// Due, Before, After and Sent have one time for each chunk with tokens.
	Due    moments `json:"due_ns"`
	Before moments `json:"before_ns"`
	After  moments `json:"after_ns"`
	Sent   moments `json:"sent_ns"`
	// Tokens is the number of tokens of each chunk.
	Tokens []int `json:"tokens"`
	// Done is when the write of the end of the stream returned; null when the client left before.
	Done moment `json:"done_ns"`
}

type moment int64

// MarshalJSON writes a time that was not taken as null.
func (m moment) MarshalJSON() ([]byte, error) { return m.append(nil), nil }

func (m moment) append(b []byte) []byte {
	if m == 0 {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, int64(m), 10)
}

type moments []moment

// MarshalJSON writes the times without a call for each.
func (m moments) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 21*len(m)+2), '[')
	for i, one := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = one.append(b)
	}
	return append(b, ']'), nil
}

// writeLog writes the records, one a line, in the order of their arrival.
func writeLog(w io.Writer, records []*record) error {
	buffered := bufio.NewWriter(w)
	lines := json.NewEncoder(buffered)
	for _, r := range records {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
