# make demo   the main job on the built-in simulator: table, answers, trace, report
# make test   all tests, with the race detector where there is a C compiler
# make help   the rest

GO ?= go
BIN := bin/servebench
VLLM := $(CURDIR)/.cache/vllm
PKGS := ./...
FUZZTIME ?= 10s

.PHONY: all build demo test lint fuzz bench clean help install test-browser test-k8s test-slurm test-vllm accuracy soak bench-peers

all: build

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

# Binaries hold all they need: without cgo they run on any Linux of their architecture, and start a millisecond sooner.
build: $(BIN) ## build bin/servebench

$(BIN): $(shell find cmd datasets internal loadgen profiles results -name '*.go' -o -name '*.yaml' -path '*presets*') go.mod go.sum
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./cmd/servebench

demo: build ## run gaudi-e2e-multi on the simulator
	@rm -rf demo-run
	$(BIN) run gaudi-e2e-multi --sim --out demo-run

# These load a server and keep time: they get the machine to themselves.
TIMED := ./loadgen/scenario ./cmd/servebench

# The race detector wants a C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

test: ## run all tests, with the race detector where there is a C compiler
	@test -n "$(RACE)" || echo 'no C compiler: the tests run without the race detector'
	$(GO) test $(RACE) -timeout 10m $$($(GO) list $(PKGS) | grep -vE '/(loadgen/scenario|cmd/servebench)$$')
	$(GO) test $(RACE) -timeout 10m -p 1 $(TIMED)

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l cmd datasets internal loadgen profiles results)" || { gofmt -l cmd datasets internal loadgen profiles results; echo 'gofmt would change these files: gofmt -w'; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) tool -modfile=tools/go.mod staticcheck $(PKGS)

fuzz: ## fuzz every parser of strangers' bytes for $(FUZZTIME) each
	@grep -rlE '^func Fuzz' --include='*_test.go' cmd datasets internal loadgen profiles results | sort | while read -r file; do \
		for target in $$(grep -ohE '^func Fuzz[A-Za-z0-9_]+' "$$file" | cut -c6-); do \
			echo "fuzz $$(dirname "$$file") $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" || exit 1; \
		done; done

bench: ## run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $(PKGS)

test-browser: build ## the pages and the traces in headless Chromium
	scripts/browser/test.sh
	scripts/trace/browser.sh

test-slurm: build ## shards on a real two-node Slurm cluster on this machine
	scripts/slurm/test.sh

test-k8s: build ## the printed Kubernetes files against the API's own types
	scripts/k8s/test.sh

accuracy: ## how wrong the client is, against a server that logs what it did (two minutes, wants a quiet machine)
	SERVEBENCH_ACCURACY=1 $(GO) test -count=1 -run '^TestAccuracy$$' -v -timeout 30m ./loadgen/canary

soak: build ## half an hour at 500 streams: does what the client holds stay flat?
	scripts/soak/soak.sh

bench-peers: build ## other load generators and ours on one paced server
	scripts/peers/run.sh "$(CURDIR)/.cache/peers"

test-vllm: build ## a real vLLM on this machine's CPU: the end-to-end procedures, and its own client beside ours
	scripts/vllm-cpu/test.sh "$(VLLM)"

install: ## install servebench where go install puts it
	CGO_ENABLED=0 $(GO) install ./cmd/servebench

clean: ## remove what was built and the demo's run
	rm -rf bin demo-run
