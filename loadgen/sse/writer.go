package sse

import (
	"bytes"
	"strconv"
)

// Append adds e to dst as an event stream writes it and returns the result. Data of
// several lines becomes several data fields; a carriage return counts as a line
// end, since the format cannot carry one. An empty Type and an empty ID are left out.
// Type and ID must not hold line ends.
func Append(dst []byte, e Event) []byte {
	if len(e.Type) > 0 {
		dst = append(dst, "event: "...)
		dst = append(dst, e.Type...)
		dst = append(dst, '\n')
	}
	if len(e.ID) > 0 {
		dst = append(dst, "id: "...)
		dst = append(dst, e.ID...)
		dst = append(dst, '\n')
	}
	return append(appendLines(dst, "data: ", e.Data), '\n')
}

// AppendData adds an event that has nothing but data.
func AppendData(dst, data []byte) []byte { return Append(dst, Event{Data: data}) }

// AppendComment adds a comment, which readers ignore and proxies keep a connection
// open for.
func AppendComment(dst []byte, text string) []byte {
	return append(appendLines(dst, ": ", []byte(text)), '\n')
}

func appendLines(dst []byte, field string, text []byte) []byte {
	for {
		dst = append(dst, field...)
		end := bytes.IndexAny(text, "\r\n")
		if end < 0 {
			dst = append(dst, text...)
			return append(dst, '\n')
		}
		dst = append(dst, text[:end]...)
		dst = append(dst, '\n')
		if text[end] == '\r' && end+1 < len(text) && text[end+1] == '\n' {
			end++
		}
		text = text[end+1:]
	}
}

// AppendChunk adds body as one chunk of HTTP/1.1's chunked coding. An empty body adds nothing,
// because an empty chunk would end the message: see AppendLastChunk.
func AppendChunk(dst, body []byte) []byte {
	if len(body) == 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(len(body)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, body...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk adds the empty chunk that ends a chunked message.
func AppendLastChunk(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }
