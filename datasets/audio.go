package datasets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// A clip is audio as it goes into a request.
type clip struct {
	name    string
	format  string // wav, flac, mp3, ogg
	data    []byte
	seconds float64
}

// readClip takes a file of audio. WAV becomes 16-bit PCM, as vLLM's client sends it; what
// this program cannot decode is sent as it is.
func readClip(data []byte, name string) (clip, error) {
	format := strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), ".")
	switch {
	case bytes.HasPrefix(data, []byte("RIFF")):
		w, err := parseWAV(data)
		if err != nil {
			return clip{}, err
		}
		return clip{"audio.wav", "wav", w.pcm16(), w.seconds()}, nil
	case bytes.HasPrefix(data, []byte("fLaC")):
		seconds, err := flacSeconds(data)
		return clip{"audio.flac", "flac", data, seconds}, err
	case bytes.HasPrefix(data, []byte("OggS")):
		seconds, err := oggSeconds(data)
		return clip{"audio.ogg", "ogg", data, seconds}, err
	case bytes.HasPrefix(data, []byte("ID3")) || format == "mp3" || len(data) > 1 && data[0] == 0xff && data[1]&0xe0 == 0xe0:
		seconds, err := mp3Seconds(data)
		return clip{"audio.mp3", "mp3", data, seconds}, err
	}
	return clip{}, errors.New("not audio that is known here: give WAV, FLAC, MP3 or Ogg")
}

// A wav is the sound of a WAV file.
type wav struct {
	channels, rate int
	samples        []int16 // of all channels in turn
}

func (w wav) seconds() float64 {
	return float64(len(w.samples)/w.channels) / float64(w.rate)
}

// pcm16 is a WAV file of 16-bit samples.
func (w wav) pcm16() []byte {
	size := 2 * len(w.samples)
	b := make([]byte, 0, 44+size)
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(36+size))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(w.channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.rate*w.channels*2))
	b = binary.LittleEndian.AppendUint16(b, uint16(w.channels*2))
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for _, s := range w.samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

func parseWAV(data []byte) (w wav, err error) {
	if len(data) < 12 || string(data[8:12]) != "WAVE" {
		return w, errors.New("a RIFF file that is not WAVE")
	}
	var encoding, bits int
	for rest := data[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		body := rest[:min(size, int64(len(rest)))]
		switch name {
		case "fmt ":
			if len(body) < 16 {
				return w, errors.New("a fmt chunk that is too short")
			}
			encoding = int(binary.LittleEndian.Uint16(body))
			w.channels = int(binary.LittleEndian.Uint16(body[2:]))
			w.rate = int(binary.LittleEndian.Uint32(body[4:]))
			bits = int(binary.LittleEndian.Uint16(body[14:]))
			if encoding == 0xfffe && len(body) >= 26 { // extensible: the real one follows
				encoding = int(binary.LittleEndian.Uint16(body[24:]))
			}
		case "data":
			if w.channels < 1 || w.rate < 1 {
				return w, fmt.Errorf("%d channels at %d Hz", w.channels, w.rate)
			}
			w.samples, err = toPCM16(body, encoding, bits)
			w.samples = w.samples[:len(w.samples)/w.channels*w.channels]
			return w, err
		}
		rest = rest[min(size+size%2, int64(len(rest))):]
	}
	return w, errors.New("no data chunk")
}

// toPCM16 converts samples of the usual encodings.
func toPCM16(data []byte, encoding, bits int) ([]int16, error) {
	convert := func(width int, f func(b []byte) int16) []int16 {
		out := make([]int16, 0, len(data)/width)
		for ; len(data) >= width; data = data[width:] {
			out = append(out, f(data))
		}
		return out
	}
	scaled := func(v float64) int16 {
		return int16(math.RoundToEven(math.Max(-1, math.Min(1, v)) * 32767))
	}
	switch {
	case encoding == 1 && bits == 16:
		return convert(2, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b)) }), nil
	case encoding == 1 && bits == 8:
		return convert(1, func(b []byte) int16 { return int16(int(b[0])-128) << 8 }), nil
	case encoding == 1 && bits == 24:
		return convert(3, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b[1:])) }), nil
	case encoding == 1 && bits == 32:
		return convert(4, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b[2:])) }), nil
	case encoding == 3 && bits == 32:
		return convert(4, func(b []byte) int16 {
			return scaled(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}), nil
	case encoding == 3 && bits == 64:
		return convert(8, func(b []byte) int16 {
			return scaled(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}), nil
	}
	return nil, fmt.Errorf("WAV encoding %d of %d bits: give PCM or float", encoding, bits)
}

// flacSeconds reads the length from the first block of a FLAC file.
func flacSeconds(data []byte) (float64, error) {
	if len(data) < 4+4+18 || data[4]&0x7f != 0 {
		return 0, errors.New("a FLAC file without stream information")
	}
	v := binary.BigEndian.Uint64(data[18:])
	rate, total := v>>44, v&(1<<36-1)
	if rate == 0 {
		return 0, errors.New("a FLAC file of 0 Hz")
	}
	return float64(total) / float64(rate), nil
}

// oggSeconds takes the length from the last page; Opus counts at 48 kHz.
func oggSeconds(data []byte) (float64, error) {
	rate := 0.0
	if i := bytes.Index(data[:min(len(data), 512)], []byte("\x01vorbis")); i >= 0 && len(data) >= i+16 {
		rate = float64(binary.LittleEndian.Uint32(data[i+12:]))
	} else if bytes.Contains(data[:min(len(data), 512)], []byte("OpusHead")) {
		rate = 48000
	}
	last := bytes.LastIndex(data, []byte("OggS"))
	if rate == 0 || last < 0 || len(data) < last+14 {
		return 0, errors.New("an Ogg file that is neither Vorbis nor Opus")
	}
	position := binary.LittleEndian.Uint64(data[last+6:])
	if position > 1<<53 {
		return 0, errors.New("an Ogg file whose last page has no position")
	}
	return float64(position) / rate, nil
}

// mp3Seconds walks the frames of an MP3 file.
func mp3Seconds(data []byte) (float64, error) {
	if bytes.HasPrefix(data, []byte("ID3")) && len(data) >= 10 {
		size := int(data[6]&0x7f)<<21 | int(data[7]&0x7f)<<14 | int(data[8]&0x7f)<<7 | int(data[9]&0x7f)
		data = data[min(len(data), 10+size):]
	}
	var (
		v1    = [16]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
		v2    = [16]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}
		rates = [4]int{44100, 48000, 32000}
	)
	seconds := 0.0
	for i := 0; i+4 <= len(data); {
		h := binary.BigEndian.Uint32(data[i:])
		version, layer := h>>19&3, h>>17&3
		bitrate, rate, samples := v1[h>>12&15], rates[h>>10&3], 1152
		if version != 3 { // MPEG 2 and 2.5
			bitrate, samples = v2[h>>12&15], 576
			rate /= 2
			if version == 0 {
				rate /= 2
			}
		}
		if h>>21 != 0x7ff || version == 1 || layer != 1 || bitrate == 0 || rate == 0 {
			i++ // not the beginning of a frame
			continue
		}
		seconds += float64(samples) / float64(rate)
		i += samples/8*bitrate*1000/rate + int(h>>9&1)
	}
	if seconds == 0 {
		return 0, errors.New("an MP3 file without frames")
	}
	return seconds, nil
}
