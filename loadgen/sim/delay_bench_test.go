package sim

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkFixedDelays is how late tokens go out with 100 streams at 50 ms and 10 ms. It must stay below half a millisecond for all but the
// last percent, or a client could not be judged by it.
func BenchmarkFixedDelays(b *testing.B) {
	s, addr := start(b, Config{FirstToken: 50 * time.Millisecond, BetweenTokens: 10 * time.Millisecond})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	for b.Loop() {
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 317 * time.Microsecond)
				response, err := client.Post("http://"+addr+"/v1/completions", "application/json", strings.NewReader(completion(ids(i, 20), 50)))
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			})
		}
		group.Wait()
	}
	var woke, wrote, first []int64
	for _, l := range s.Requests() {
		for k, token := range l.Tokens {
			due := l.Received + int64(50*time.Millisecond) + int64(k)*int64(10*time.Millisecond)
			woke = append(woke, token.Computed-due)
			wrote = append(wrote, token.WriteBegan-due)
			if k == 0 {
				first = append(first, token.WriteBegan-due)
			}
		}
	}
	for name, late := range map[string][]int64{"engine": woke, "write": wrote, "first": first} {
		slices.Sort(late)
		b.ReportMetric(float64(late[len(late)/2])/1000, name+"-us-p50")
		b.ReportMetric(float64(late[len(late)*99/100])/1000, name+"-us-p99")
	}
}
