package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Tokenizer is the server's own, asked over HTTP (/tokenize and /detokenize). It has the
// methods of a local tokenizer. What a server does not tell about its vocabulary is learnt from
// plain text: see IDs. It is safe for concurrent use.
type Tokenizer struct {
	ctx     context.Context // the run's: the methods take none
	target  Target
	model   string
	ids     []int
	special []int
	added   int
}

// AskTokenizer makes a Tokenizer of the target's, for the model of that name. It asks a few dozen short
// questions, so that a server without the routes is noticed here. ctx bounds the Tokenizer's life.
func AskTokenizer(ctx context.Context, target Target, model string) (*Tokenizer, error) {
	t := &Tokenizer{ctx: ctx, target: target, model: model}
	const probe = "San Francisco is a"
	bare, err := target.Tokenize(ctx, model, probe, false)
	if err != nil {
		return nil, fmt.Errorf("the server's tokenizer: %w", err)
	}
	whole, err := target.Tokenize(ctx, model, probe, true)
	if err != nil {
		return nil, fmt.Errorf("the server's tokenizer: %w", err)
	}
	t.added = len(whole) - len(bare)
	for _, id := range whole {
		if !slices.Contains(bare, id) && !slices.Contains(t.special, id) {
			t.special = append(t.special, id)
		}
	}
	slices.Sort(t.special)

	for text := range plainText() {
		ids, err := target.Tokenize(ctx, model, text, false)
		if err != nil {
			return nil, fmt.Errorf("the server's tokenizer: %w", err)
		}
		t.ids = append(t.ids, ids...)
	}
	slices.Sort(t.ids)
	t.ids = slices.Compact(t.ids)
	t.ids = slices.DeleteFunc(t.ids, func(id int) bool { return id < 0 || slices.Contains(t.special, id) })
	if len(t.ids) == 0 {
		return nil, fmt.Errorf("the server's tokenizer: POST %s gave no ids for plain text", redacted(target.URL("/tokenize")))
	}
	return t, nil
}

// Encode returns the ids of text, with the special tokens the model puts around a prompt if special is set.
func (t *Tokenizer) Encode(text string, special bool) ([]int, error) {
	return t.target.Tokenize(t.ctx, t.model, text, special)
}

// Decode returns the text of ids, special tokens kept.
func (t *Tokenizer) Decode(ids []int) (string, error) {
	return t.target.Detokenize(t.ctx, t.model, ids)
}

// IDs are ids that plain English text, letter pairs and numbers are made of: each stands for a
// readable piece of text, and none is special. Ascending.
func (t *Tokenizer) IDs() []int { return slices.Clone(t.ids) }

// VocabSize is one more than the largest id seen: servers do not tell the size, which is this or
// larger. Draw from IDs, not from a range.
func (t *Tokenizer) VocabSize() int {
	return max(t.ids[len(t.ids)-1], slices.Max(append([]int{0}, t.special...))) + 1
}

// SpecialIDs are the special tokens the model puts around a prompt, ascending. It may have others.
func (t *Tokenizer) SpecialIDs() []int { return slices.Clone(t.special) }

// SpecialTokens is how many tokens Encode adds around a single prompt.
func (t *Tokenizer) SpecialTokens() int { return t.added }

// words are common English words: most vocabularies hold each as a token of its own.
const words = `the of and to in is it you that he was for on are with as his they be at one have this from
or had by hot but some what there we can out other were all your when up use word how said an each she which do
their time if will way about many then them would write like so these her long make thing see him two has look
more day could go come did my sound no most number who over know water than call first people may down side been
now find any new work part take get place made live where after back little only round man year came show every
good me give our under name very through just form much great think say help low line before turn cause same mean
differ move right boy old too does tell sentence set three want air well also play small end put home read hand
port large spell add even land here must big high such follow act why ask men change went light kind off need
house picture try us again animal point mother world near build self earth father head stand own page should
country found answer school grow study still learn plant cover food sun four thought let keep eye never last door
between city tree cross since hard start might story saw far sea draw left late run while press close night real
life few stop open seem together next white children begin got walk example ease paper often always music those
both mark book letter until mile river car feet care second group carry took rain eat room friend began idea fish
mountain north once base hear horse cut sure watch color face wood main enough plain girl usual young ready above
ever red list though feel talk bird soon body dog family direct pose leave song measure state product black short
class wind question happen complete ship area half rock order fire south problem piece told knew pass farm top
whole king size heard best hour better true during hundred remember step early hold west ground interest reach
fast five sing listen six table travel less morning ten simple several vowel toward war lay against pattern slow
center love person money serve appear road map science rule govern pull cold notice voice fall power town fine
certain fly unit lead cry dark machine note wait plan figure star box noun field rest correct able pound done
beauty drive stood contain front teach week final gave green quick develop sleep warm free minute strong special
mind behind clear tail produce fact street inch lot nothing course stay wheel full force blue object decide
surface deep moon island foot yet busy test record boat common gold possible plane age dry wonder laugh thousand
ago ran check game shape yes hot miss brought heat snow bed bring sit perhaps fill east weight language among`

// longestQuestion keeps a question below the shortest context length a server may have: a token is at
// least a byte.
const longestQuestion = 200

// plainText yields the built-in text in pieces of at most longestQuestion bytes.
func plainText() func(func(string) bool) {
	pieces := strings.Fields(words)
	for first := 'a'; first <= 'z'; first++ {
		for second := 'a'; second <= 'z'; second++ {
			pieces = append(pieces, string([]rune{first, second}))
		}
	}
	for n := range 100 {
		pieces = append(pieces, strconv.Itoa(n))
	}
	return func(yield func(string) bool) {
		var text strings.Builder
		for _, piece := range pieces {
			if text.Len()+1+len(piece) > longestQuestion {
				if !yield(text.String()) {
					return
				}
				text.Reset()
			}
			if text.Len() > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(piece)
		}
		if text.Len() > 0 {
			yield(text.String())
		}
	}
}
