package api

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"servebench/results"
)

// TestReceiveQueues looks into the queues of connections that replies come over. When these have ended, none is asked any more.
func TestReceiveQueues(t *testing.T) {
	const streams = 4
	eachWay(t, func(t *testing.T, way func(*Config)) {
		release := make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Add(streams)
		server := aServer(t, false, true, false, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			waiting.Done()
			<-release
			oneToken(w, r)
		})
		client := newTestClient(t, "vllm", server.URL, way)
		if _, ok := client.Queues(); ok {
			t.Error("queues that nobody looked into have something to tell")
		}
		var sending sync.WaitGroup
		for range streams {
			sending.Go(func() {
				if reply := send(t, client); reply.Failure != nil {
					t.Error(reply.Failure.Message)
				}
			})
		}
		waiting.Wait()
		client.LookIntoQueues()
		if client.Stamps() == "kernel" {
			if q, ok := client.Queues(); !ok || q.Looks != streams {
				t.Errorf("%+v, known %t; want %d looks", q, ok, streams)
			}
		}
		close(release)
		sending.Wait()
		before, _ := client.Queues()
		client.LookIntoQueues()
		if after, _ := client.Queues(); after != before {
			t.Errorf("%+v after the end, %+v before: a connection is still asked", after, before)
		}
	})
}

func TestReceiveQueueAdds(t *testing.T) {
	q := results.ReceiveQueue{Looks: 3, Waiting: 1, Most: 70}
	q.Add(results.ReceiveQueue{Looks: 2, Waiting: 2, Most: 50})
	if want := (results.ReceiveQueue{Looks: 5, Waiting: 3, Most: 70}); q != want {
		t.Errorf("%+v, want %+v", q, want)
	}
}
