package sim

// A sequence is one prompt being answered once: what the engine schedules.
type sequence struct {
	job    *job
	choice int
	prompt []int
	min    int
	max    int // 0: nothing is generated, as in pooling
	stops  []int
	eos    bool // ends at the end-of-sequence token

	from    uint64 // where its contents are drawn from
	allowed []int

	output []int
	finish string
	stopID int

	// The engine's own.
	computed   int // tokens whose state is in the cache
	cached     int // of these, at the start: found there
	blocks     int
	preempted  int
	isAborted  bool
	arrived    int64
	scheduled  int64
	firstToken int64
	lastToken  int64
	due        int64 // with fixed delays: of its next token
}

func (s *sequence) total() int { return len(s.prompt) + len(s.output) }

// isPrompt says that the sequence has no output yet, so that its next tokens count as prompt.
func (s *sequence) isPrompt() bool { return len(s.output) == 0 }

// A token is one output token on its way from the engine to the stream.
type token struct {
	choice   int
	id       int // -1: none (pooling)
	step     int
	computed int64
	finish   string // of the sequence, with its last token
	stopID   int
}

// next draws the sequence's next token and says whether it is the last.
func (s *sequence) next(c *content) token {
	t := token{choice: s.choice, id: -1}
	if s.max > 0 {
		t.id = c.token(s, len(s.output))
		s.output = append(s.output, t.id)
	}
	switch n := len(s.output); {
	case s.max == 0:
		s.finish = "stop"
	case s.eos && t.id == EOS && n > s.min:
		s.finish, s.stopID = "stop", -1
	case n > s.min && contains(s.stops, t.id):
		s.finish, s.stopID = "stop", t.id
	case n >= s.max:
		s.finish = "length"
	}
	t.finish, t.stopID = s.finish, s.stopID
	return t
}

func contains(ids []int, id int) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}

// A content decides what sequences say.
type content struct {
	first, count int // the ids to choose from
	natural      int
	seed         uint64
}

func newContent(c Config) *content {
	out := &content{natural: c.NaturalLength, seed: c.Seed}
	size := c.Tokenizer.Vocabulary()
	out.first, out.count = size/8, size-size/8
	if _, ok := c.Tokenizer.(*Words); ok {
		// Whole words where there are any, so that answers are plain text.
		switch {
		case size > firstWord:
			out.first, out.count = firstWord, min(size, firstChar)-firstWord
		case size > firstPair:
			out.first, out.count = firstPair, size-firstPair
		default:
			out.first, out.count = idOfByte('x'), 1
		}
	}
	return out
}

// source is where a sequence's contents are drawn from: the same prompt says the same.
func (c *content) source(prompt []int, seed uint64, choice int) uint64 {
	h := mix(c.seed) ^ mix(seed+1)
	for _, id := range prompt {
		h = mix(h ^ uint64(id))
	}
	return mix(h + uint64(choice))
}

func (c *content) token(s *sequence, position int) int {
	draw := mix(s.from + uint64(position)*0x9E3779B97F4A7C15)
	if s.eos && c.natural > 0 && position >= s.min && draw>>32%uint64(c.natural) == 0 {
		return EOS
	}
	draw = mix(draw)
	if len(s.allowed) > 0 {
		return s.allowed[draw%uint64(len(s.allowed))]
	}
	return c.first + int(draw%uint64(c.count))
}
