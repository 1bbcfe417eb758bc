package datasets

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"strconv"
	"strings"

	"servebench/internal/numpy"
)

// RandomMM is the source random-mm: random prompts with random images and videos.
type RandomMM struct {
	InputLen    int     `json:"input_len" yaml:"input_len"`
	OutputLen   int     `json:"output_len" yaml:"output_len"`
	PrefixLen   int     `json:"prefix_len,omitempty" yaml:"prefix_len,omitempty"`
	InputRange  float64 `json:"input_range,omitempty" yaml:"input_range,omitempty"`
	OutputRange float64 `json:"output_range,omitempty" yaml:"output_range,omitempty"`
	// Items is the mean number of images and videos of a request, ItemsRange the
	// half-width of the window it is drawn from, in [0, 1].
	Items      int     `json:"base_items_per_request" yaml:"base_items_per_request"`
	ItemsRange float64 `json:"num_mm_items_range_ratio,omitempty" yaml:"num_mm_items_range_ratio,omitempty"`
	// Limits are the most images and videos of a request, by the words image and video.
	Limits map[string]int `json:"limit_mm_per_prompt" yaml:"limit_mm_per_prompt"`
	// Buckets are the sizes, and the weight of each.
	Buckets []Bucket `json:"bucket_config" yaml:"bucket_config"`

	// pixels sees every item before it is encoded.
	pixels func(b Bucket, rgb []byte)
}

// A Bucket is a size of images (one frame) or videos, and its weight. The order of
// buckets matters to what is drawn.
type Bucket struct {
	Height int     `json:"height" yaml:"height"`
	Width  int     `json:"width" yaml:"width"`
	Frames int     `json:"frames" yaml:"frames"`
	Weight float64 `json:"weight" yaml:"weight"`
}

func (b Bucket) modality() string {
	if b.Frames > 1 {
		return "video"
	}
	return "image"
}

func (b Bucket) bytes() int { return b.Height * b.Width * b.Frames * 3 }

// ParseBuckets reads a --random-mm-bucket-config: a Python dict with the keys
// (height, width, frames), or the same between quotes, and weights.
func ParseBuckets(s string) ([]Bucket, error) {
	fault := func(what string) error {
		return fmt.Errorf("bucket config %q: %s: write it as {(256, 256, 1): 0.5, (720, 1280, 1): 0.5}", s, what)
	}
	rest, opened := strings.CutPrefix(strings.TrimSpace(s), "{")
	rest, closed := strings.CutSuffix(rest, "}")
	if !opened || !closed {
		return nil, fault("no braces around it")
	}
	var buckets []Bucket
	for rest = strings.TrimSpace(rest); rest != ""; {
		key, after, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, fault("a key without a weight")
		}
		weight, next, _ := strings.Cut(after, ",")
		rest = strings.TrimSpace(next)
		key = strings.TrimSpace(key)
		for _, quote := range []string{`'`, `"`} {
			if len(key) >= 2 && strings.HasPrefix(key, quote) && strings.HasSuffix(key, quote) {
				key = strings.TrimSpace(key[1 : len(key)-1])
			}
		}
		if !strings.HasPrefix(key, "(") || !strings.HasSuffix(key, ")") {
			return nil, fault("key " + key + " is not (height, width, frames)")
		}
		numbers := strings.Split(strings.TrimSuffix(strings.TrimSpace(key[1:len(key)-1]), ","), ",")
		if len(numbers) != 3 {
			return nil, fault("key " + key + " is not (height, width, frames)")
		}
		var b Bucket
		for i, to := range []*int{&b.Height, &b.Width, &b.Frames} {
			n, err := strconv.Atoi(strings.TrimSpace(numbers[i]))
			if err != nil {
				return nil, fault("key " + key + " is not (height, width, frames)")
			}
			*to = n
		}
		var err error
		if b.Weight, err = strconv.ParseFloat(strings.TrimSpace(weight), 64); err != nil {
			return nil, fault("weight " + strings.TrimSpace(weight) + " is no number")
		}
		buckets = set(buckets, b)
	}
	return buckets, nil
}

// set is a dict's: a key that comes again keeps its place and takes the new weight.
func set(buckets []Bucket, b Bucket) []Bucket {
	for i := range buckets {
		if old := buckets[i]; old.Height == b.Height && old.Width == b.Width && old.Frames == b.Frames {
			buckets[i].Weight = b.Weight
			return buckets
		}
	}
	return append(buckets, b)
}

func (r *RandomMM) needs() needs { return needs{tokenizer: true, media: true} }

// normalized drops buckets of no weight and makes the weights add up to 1.
func normalized(buckets []Bucket) ([]Bucket, error) {
	var out []Bucket
	total := 0.0
	for _, b := range buckets {
		switch {
		case !(b.Weight >= 0):
			return nil, fmt.Errorf("bucket (%d, %d, %d) has the weight %v: weights are not negative", b.Height, b.Width, b.Frames, b.Weight)
		case b.Weight > 0:
			out = append(out, b)
			total += b.Weight
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no bucket has a weight")
	}
	for i := range out {
		out[i].Weight /= total
	}
	return out, nil
}

// plan checks the buckets and limits, and gives the window of the number of items.
func (r *RandomMM) plan() (buckets []Bucket, low, high int, err error) {
	if !(r.ItemsRange >= 0 && r.ItemsRange <= 1) {
		return nil, 0, 0, fmt.Errorf("an items range ratio of %v is not in [0, 1]", r.ItemsRange)
	}
	for _, b := range r.Buckets {
		if b.Height < 1 || b.Width < 1 || b.Frames < 1 || b.Height > 1<<14 || b.Width > 1<<14 || b.Frames > 1<<14 {
			return nil, 0, 0, fmt.Errorf("bucket (%d, %d, %d): height, width and frames are from 1 to %d", b.Height, b.Width, b.Frames, 1<<14)
		}
		if _, ok := r.Limits[b.modality()]; !ok {
			return nil, 0, 0, fmt.Errorf("bucket (%d, %d, %d) is of %ss, which have no limit per prompt", b.Height, b.Width, b.Frames, b.modality())
		}
	}
	if buckets, err = normalized(r.Buckets); err != nil {
		return nil, 0, 0, err
	}
	used := map[string]bool{}
	most := 0
	for _, b := range buckets {
		if m := b.modality(); !used[m] {
			used[m] = true
			most += r.Limits[m]
		}
	}
	low = max(0, int(math.Floor(float64(r.Items)*(1-r.ItemsRange))))
	high = min(most, int(math.Ceil(float64(r.Items)*(1+r.ItemsRange))))
	if low > high {
		return nil, 0, 0, fmt.Errorf("at least %d items are wanted, and the limits allow %d", low, high)
	}
	return buckets, low, high, nil
}

// items draws the buckets of one request. Each is handed over at once, since its pixels
// come from the same generator.
func (r *RandomMM) items(rng *numpy.Generator, all []Bucket, low, high int, take func(Bucket) error) error {
	n := rng.Between(low, high)
	counts := map[string]int{}
	buckets := all
	for made := 0; made < n; {
		weights := make([]float64, len(buckets))
		for i, b := range buckets {
			weights[i] = b.Weight
		}
		b := buckets[rng.Weighted(weights)]
		m := b.modality()
		if counts[m] < r.Limits[m] {
			counts[m]++
			made++
			if err := take(b); err != nil {
				return err
			}
			continue
		}
		var left []Bucket
		for _, other := range buckets {
			if other.modality() != m {
				left = append(left, other)
			}
		}
		var err error
		if buckets, err = normalized(left); err != nil {
			return nil // every kind is at its limit
		}
	}
	return nil
}

func (r *RandomMM) load(b *build) error {
	text := Random{
		InputLen: r.InputLen, OutputLen: r.OutputLen, PrefixLen: r.PrefixLen,
		InputRange: r.InputRange, OutputRange: r.OutputRange,
	}
	special := b.Tokenizer.SpecialTokens()
	if err := text.check(); err != nil {
		return err
	}
	buckets, low, high, err := r.plan()
	if err != nil {
		return fmt.Errorf("random-mm: %w", err)
	}
	rng := numpy.NewGenerator(uint64(b.Seed))
	// Every added token that is marked special stays out, not only those with a name:
	// one that stands for an image would break the prompt.
	forbidden := b.Tokenizer.SpecialIDs()
	if t, ok := b.Tokenizer.(AddedVocabulary); ok {
		forbidden = t.AddedSpecialIDs()
	}
	w, err := newWriter(b, rng, forbidden)
	if err != nil {
		return fmt.Errorf("random-mm: %w", err)
	}
	d, err := drawDraft(rng, b.Requests, max(0, r.InputLen-special), r.OutputLen, w.vocab, r.InputRange, r.OutputRange)
	if err != nil {
		return fmt.Errorf("random-mm: %w", err)
	}
	prefix, err := w.prefix(b, r.PrefixLen)
	if err != nil {
		return fmt.Errorf("random-mm: prefix: %w", err)
	}
	type job struct{ sample, item int }
	var jobs []job
	total := 0
	// The pixels are drawn in order, the encoding waits: it takes far longer, and can be
	// done on all processors. A generator is a few words, so a copy of it holds an image.
	var starts []numpy.Generator
	var sizes []Bucket
	err = w.prompts(prefix, r.PrefixLen, d, 0, func(i int, f *fit) error {
		total += f.mismatch()
		s := Sample{ID: b.id(i), Prompt: Prompt{Text: f.text}, InputTokens: len(f.ids), OutputTokens: d.outputs[i]}
		err := r.items(rng, buckets, low, high, func(bucket Bucket) error {
			jobs = append(jobs, job{i, len(s.Media)})
			starts, sizes = append(starts, *rng), append(sizes, bucket)
			rng.SkipBytes(bucket.bytes())
			s.Media = append(s.Media, Media{})
			return nil
		})
		b.samples = append(b.samples, s)
		return err
	})
	if err != nil {
		return fmt.Errorf("random-mm: %w", err)
	}
	b.mismatch(total)
	err = inOrder(b.ctx, len(jobs), b.Workers, func(k int) (Media, error) {
		rgb := make([]byte, sizes[k].bytes())
		rng := starts[k]
		rng.Bytes(rgb)
		if r.pixels != nil {
			r.pixels(sizes[k], rgb)
		}
		return encodeItem(sizes[k], rgb)
	}, func(k int, m Media) (bool, error) {
		b.samples[jobs[k].sample].Media[jobs[k].item] = m
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("random-mm: %w", err)
	}
	for i := range b.samples {
		if b.chatted(&b.samples[i]); b.Chat {
			b.samples[i].Media = nil // they are inside the message
		}
	}
	return nil
}

// encodeItem is an image as JPEG, or a video as Motion JPEG in an MP4 file.
func encodeItem(b Bucket, pixels []byte) (Media, error) {
	if b.Frames == 1 {
		data, err := encodeJPEG(b, pixels, 0, 2)
		if err != nil {
			return Media{}, err
		}
		return urlMedia("image_url", "data:image/jpeg;base64,"+base64.StdEncoding.EncodeToString(data)), nil
	}
	frames := make([][]byte, b.Frames)
	size := b.Height * b.Width * 3
	for i := range frames {
		// vLLM's video writer takes the first byte of a pixel for blue.
		data, err := encodeJPEG(b, pixels[i*size:(i+1)*size], 2, 0)
		if err != nil {
			return Media{}, err
		}
		frames[i] = data
	}
	const perSecond = 30
	data := mp4(b.Width, b.Height, perSecond, frames)
	return urlMedia("video_url", "data:video/mp4;base64,"+base64.StdEncoding.EncodeToString(data)), nil
}

// encodeJPEG encodes one frame, whose pixels have red and blue at the places given.
func encodeJPEG(b Bucket, pixels []byte, red, blue int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, b.Width, b.Height))
	for i, j := 0, 0; i < len(pixels); i, j = i+3, j+4 {
		img.Pix[j], img.Pix[j+1], img.Pix[j+2], img.Pix[j+3] = pixels[i+red], pixels[i+1], pixels[i+blue], 255
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 75}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
