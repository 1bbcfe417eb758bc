package sim

import (
	"io"
	"log"
)

// quiet is net/http's log: connections that are cut on purpose are no news.
var quiet = log.New(io.Discard, "", 0)
