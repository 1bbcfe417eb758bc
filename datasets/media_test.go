package datasets

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// chunkOf is a chunk of a RIFF file.
func riffChunk(name string, body []byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(body)))
	out = append(out, body...)
	if len(body)%2 == 1 {
		out = append(out, 0)
	}
	return out
}

// wavFile is a WAV file with a chunk nobody asked for.
func wavFile(encoding, channels, rate, bits int, data []byte) []byte {
	format := binary.LittleEndian.AppendUint16(nil, uint16(encoding))
	format = binary.LittleEndian.AppendUint16(format, uint16(channels))
	format = binary.LittleEndian.AppendUint32(format, uint32(rate))
	format = binary.LittleEndian.AppendUint32(format, uint32(rate*channels*bits/8))
	format = binary.LittleEndian.AppendUint16(format, uint16(channels*bits/8))
	format = binary.LittleEndian.AppendUint16(format, uint16(bits))
	body := slices.Concat([]byte("WAVE"), riffChunk("LIST", []byte("odd")), riffChunk("fmt ", format), riffChunk("data", data))
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

func TestWAV(t *testing.T) {
	float := func(values ...float32) (out []byte) {
		for _, v := range values {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		file    []byte
		samples []int16
		seconds float64
	}{
		{"16 bits", wavFile(1, 1, 2, 16, []byte{1, 0, 255, 255}), []int16{1, -1}, 1},
		{"8 bits", wavFile(1, 1, 4, 8, []byte{128, 129, 0}), []int16{0, 256, -32768}, 0.75},
		{"24 bits", wavFile(1, 1, 1, 24, []byte{9, 1, 0, 9, 0, 128}), []int16{1, -32768}, 2},
		{"32 bits", wavFile(1, 1, 1, 32, []byte{9, 9, 2, 0}), []int16{2}, 1},
		{"float", wavFile(3, 1, 4, 32, float(0, 1, -2, 0.5)), []int16{0, 32767, -32767, 16384}, 1},
		{"stereo", wavFile(1, 2, 2, 16, []byte{1, 0, 2, 0, 3, 0, 4, 0, 9}), []int16{1, 2, 3, 4}, 1},
	} {
		c, err := readClip(tc.file, "x.wav")
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		again, err := parseWAV(c.data)
		if err != nil || !slices.Equal(again.samples, tc.samples) || c.seconds != tc.seconds || c.format != "wav" {
			t.Errorf("%s: %v s of %v, %v; want %v s of %v", tc.name, c.seconds, again.samples, err, tc.seconds, tc.samples)
		}
	}
	for name, file := range map[string][]byte{
		"give PCM or float":             wavFile(7, 1, 1, 8, []byte{1}),
		"0 channels at 1 Hz":            wavFile(1, 0, 1, 8, []byte{1}),
		"a RIFF file that is not WAVE":  []byte("RIFF\x00\x00\x00\x00AVI "),
		"no data chunk":                 []byte("RIFF\x00\x00\x00\x00WAVE"),
		"not audio that is known here":  []byte("text"),
		"a FLAC file without":           []byte("fLaC"),
		"an MP3 file without frames":    []byte("ID3\x04\x00\x00\x00\x00\x00\x00text"),
		"neither Vorbis nor Opus":       []byte("OggS"),
		"a fmt chunk that is too short": slices.Concat([]byte("RIFF\x00\x00\x00\x00WAVE"), riffChunk("fmt ", []byte{1})),
	} {
		if _, err := readClip(file, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q in it", err, name)
		}
	}
}

func TestLengthsOfSound(t *testing.T) {
	flac := make([]byte, 8+34)
	copy(flac, "fLaC\x80\x00\x00\x22")
	binary.BigEndian.PutUint64(flac[18:], 16000<<44|24000) // 1.5 s at 16 kHz
	vorbis := slices.Concat([]byte("OggS\x00\x02"), make([]byte, 21), []byte{30}, []byte("\x01vorbis\x00\x00\x00\x00\x01"),
		binary.LittleEndian.AppendUint32(nil, 8000), make([]byte, 14), []byte("OggS\x00\x04"), binary.LittleEndian.AppendUint64(nil, 4000), make([]byte, 13))
	frame := make([]byte, 417) // MPEG 1, 128 kbit/s, 44.1 kHz: 144*128000/44100 bytes
	copy(frame, []byte{0xff, 0xfb, 0x90, 0x00})
	mp3 := append([]byte("ID3\x04\x00\x00\x00\x00\x00\x02xx"), bytes.Repeat(frame, 10)...)
	for _, tc := range []struct {
		name string
		data []byte
		want float64
	}{{"flac", flac, 1.5}, {"ogg", vorbis, 0.5}, {"mp3", mp3, 10 * 1152.0 / 44100}} {
		c, err := readClip(tc.data, "x")
		if err != nil || c.format != tc.name || math.Abs(c.seconds-tc.want) > 1e-12 || !bytes.Equal(c.data, tc.data) {
			t.Errorf("%s: %s of %v s, %v; want %v s", tc.name, c.format, c.seconds, err, tc.want)
		}
	}
}

// box finds a box of an MP4 file by the names on its way.
func findBox(t *testing.T, data []byte, names ...string) []byte {
	t.Helper()
	for _, name := range names {
		found := false
		for len(data) >= 8 {
			size := int(binary.BigEndian.Uint32(data))
			if size < 8 || size > len(data) {
				t.Fatalf("a box of %d bytes in %d", size, len(data))
			}
			if string(data[4:8]) == name {
				data, found = data[8:size], true
				break
			}
			data = data[size:]
		}
		if !found {
			t.Fatalf("no box %s of %v", name, names)
		}
	}
	return data
}

func TestMP4(t *testing.T) {
	b := Bucket{Height: 24, Width: 40, Frames: 3, Weight: 1}
	pixels := make([]byte, b.bytes())
	for i := range pixels {
		pixels[i] = []byte{200, 100, 0}[i%3] // blue, green, red, as vLLM's writer takes them
	}
	m, err := encodeItem(b, pixels)
	if err != nil {
		t.Fatal(err)
	}
	var part struct {
		VideoURL struct{ URL string } `json:"video_url"`
	}
	if err := json.Unmarshal(m.JSON, &part); err != nil {
		t.Fatal(err)
	}
	file, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(part.VideoURL.URL, "data:video/mp4;base64,"))
	if err != nil {
		t.Fatal(err)
	}
	table := []string{"moov", "trak", "mdia", "minf", "stbl"}
	sizes := findBox(t, file, append(table, "stsz")...)[8:]
	if n := binary.BigEndian.Uint32(sizes); n != 3 {
		t.Fatalf("%d frames", n)
	}
	at := binary.BigEndian.Uint32(findBox(t, file, append(table, "stco")...)[8:])
	for k := range 3 {
		size := binary.BigEndian.Uint32(sizes[4+4*k:])
		img, err := jpeg.Decode(bytes.NewReader(file[at : at+size]))
		if err != nil {
			t.Fatalf("frame %d: %v", k, err)
		}
		if d := img.Bounds(); d.Dx() != 40 || d.Dy() != 24 {
			t.Errorf("frame %d is %v", k, d)
		}
		r, g, bl, _ := img.At(20, 12).RGBA()
		if r>>8 > 3 || g>>8 < 97 || g>>8 > 103 || bl>>8 < 197 || bl>>8 > 203 {
			t.Errorf("frame %d has the colour %d, %d, %d", k, r>>8, g>>8, bl>>8)
		}
		at += size
	}
	if scale := binary.BigEndian.Uint32(findBox(t, file, "moov", "trak", "mdia", "mdhd")[12:]); scale != 30 {
		t.Errorf("%d frames per second", scale)
	}
}

func TestParseBuckets(t *testing.T) {
	for _, tc := range []struct {
		text  string
		want  []Bucket
		fault string
	}{
		{"{(256, 256, 1): 0.5, (720, 1280, 16): 0}", []Bucket{{256, 256, 1, 0.5}, {720, 1280, 16, 0}}, ""},
		{`{'(8, 9, 1)': 1, "(8,9,1)":2 , (8, 9, 1,): 3,}`, []Bucket{{8, 9, 1, 3}}, ""},
		{"{}", nil, ""},
		{"(8, 8, 1): 1", nil, "no braces around it"},
		{"{(8, 8): 1}", nil, "is not (height, width, frames)"},
		{"{(8, 8, x): 1}", nil, "is not (height, width, frames)"},
		{"{8: 1}", nil, "is not (height, width, frames)"},
		{"{(8, 8, 1): much}", nil, "weight much is no number"},
		{"{(8, 8, 1)}", nil, "a key without a weight"},
	} {
		got, err := ParseBuckets(tc.text)
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: got %v, want %q in it", tc.text, err, tc.fault)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, %v; want %v", tc.text, got, err, tc.want)
		}
	}
}

func TestRandomMMPlan(t *testing.T) {
	image := Bucket{8, 8, 1, 1}
	limits := map[string]int{"image": 3, "video": 1}
	for _, tc := range []struct {
		name      string
		r         RandomMM
		low, high int
		fault     string
	}{
		{"window", RandomMM{Items: 2, ItemsRange: 0.5, Limits: limits, Buckets: []Bucket{image}}, 1, 3, ""},
		{"limit", RandomMM{Items: 4, ItemsRange: 1, Limits: limits, Buckets: []Bucket{image, {8, 8, 2, 1}}}, 0, 4, ""},
		{"unused limit", RandomMM{Items: 4, ItemsRange: 1, Limits: limits, Buckets: []Bucket{image, {8, 8, 2, 0}}}, 0, 3, ""},
		{"above the limit", RandomMM{Items: 9, Limits: limits, Buckets: []Bucket{image}}, 0, 0, "at least 9 items are wanted, and the limits allow 3"},
		{"range", RandomMM{ItemsRange: 1.5, Buckets: []Bucket{image}}, 0, 0, "is not in [0, 1]"},
		{"no limit", RandomMM{Limits: map[string]int{"video": 1}, Buckets: []Bucket{image}}, 0, 0, "is of images, which have no limit per prompt"},
		{"negative", RandomMM{Limits: limits, Buckets: []Bucket{{8, 8, 1, -1}}}, 0, 0, "weights are not negative"},
		{"nothing", RandomMM{Limits: limits, Buckets: []Bucket{{8, 8, 1, 0}}}, 0, 0, "no bucket has a weight"},
		{"size", RandomMM{Limits: limits, Buckets: []Bucket{{0, 8, 1, 1}}}, 0, 0, "height, width and frames are from 1"},
	} {
		_, low, high, err := tc.r.plan()
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: got %v, want %q in it", tc.name, err, tc.fault)
			}
			continue
		}
		if err != nil || low != tc.low || high != tc.high {
			t.Errorf("%s: [%d, %d], %v; want [%d, %d]", tc.name, low, high, err, tc.low, tc.high)
		}
	}
}

func TestParquetShapes(t *testing.T) {
	var rows []row
	for r, err := range rowsOf(single("testdata/shapes.parquet"), []string{"testdata/shapes.parquet"}) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	if len(rows) != 2 || rows[1].place != "testdata/shapes.parquet: row 1" {
		t.Fatalf("%d rows, the last at %s", len(rows), rows[len(rows)-1].place)
	}
	message := func(content, role string) value { return fields{{"content", content}, {"role", role}} }
	for key, want := range map[string]value{
		"turns":   []value{[]value{message("Look at this.", "user")}, []value{message("Nice.", "assistant")}},
		"choices": fields{{"Z", "1"}, {"A", "2"}, {"E", nil}},
		"n":       int64(1), "x": 0.5, "small": 1.5, "flag": true, "raw": []byte{0, 255}, "cat": "u",
	} {
		if got, _ := rows[0].get(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", key, got, want)
		}
	}
	for _, key := range []string{"n", "x", "flag", "raw"} {
		if got, ok := rows[1].get(key); !ok || got != nil {
			t.Errorf("%s of row 1 is %#v, want null", key, got)
		}
	}
}

func TestInOrder(t *testing.T) {
	for _, workers := range []int{1, 3, 50} {
		var got []int
		err := inOrder(t.Context(), 100, workers, func(i int) (int, error) { return i * i, nil }, func(i, v int) (bool, error) {
			if v != i*i {
				t.Errorf("result %d is %d", i, v)
			}
			got = append(got, i)
			return i < 70, nil
		})
		if err != nil || len(got) != 71 || !slices.IsSorted(got) {
			t.Errorf("%d workers: %v, %v", workers, got, err)
		}
		err = inOrder(t.Context(), 100, workers, func(i int) (int, error) {
			if i >= 20 {
				return 0, fmt.Errorf("fault %d", i)
			}
			return 0, nil
		}, func(int, int) (bool, error) { return true, nil })
		if err == nil || err.Error() != "fault 20" {
			t.Errorf("%d workers: %v, want the first fault", workers, err)
		}
	}
	if err := inOrder(t.Context(), 0, 4, func(int) (int, error) { return 0, nil }, func(int, int) (bool, error) { return true, nil }); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}
