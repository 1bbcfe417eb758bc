package datasets_test

import (
	"context"
	"fmt"
	"log"

	"servebench/datasets"
)

// Prompts of token ids need no tokenizer.
func ExampleLoad() {
	src := &datasets.Random{InputLen: 5, OutputLen: 3, TokenIDs: true, VocabSize: 1000}
	set, err := datasets.Load(context.Background(), src, datasets.Options{Requests: 2, Seed: 42, IDPrefix: "r-"})
	if err != nil {
		log.Fatal(err)
	}
	for i := range set.Len() {
		s := set.At(i)
		fmt.Println(s.ID, s.Prompt.IDs, s.OutputTokens)
	}
	// Output:
	// r-0 [89 90 91 92 93] 3
	// r-1 [774 775 776 777 778] 3
}
