# What a contributor needs, each with one command. `make test` is all that CI runs.

GO            ?= go
BIN           := $(CURDIR)/bin
# The modules of the project: the library, and the examples that need routers.
MODULES       := . examples/routers

GOLANGCI      := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT       := mvdan.cc/gofumpt@v0.12.0

FUZZTIME      ?= 60s
BENCHTIME     ?= 1s
BENCHCOUNT    ?= 1

SUITE         := conformance/node_modules/.package-lock.json
VISITOR       := e2e/node_modules/.package-lock.json
CHROMIUM      ?= /usr/bin/chromium

export GOFLAGS ?= -buildvcs=false

.PHONY: test deps lint vet unit conformance e2e bench load law fuzz demo tools clean

## test: everything that CI runs; installs what it needs on a fresh Debian with Go
test: deps lint unit conformance e2e

# deps: real peers that the tests start by themselves. Installing must not start a service of the machine.
deps:
	@missing=; for p in nginx curl; do command -v $$p >/dev/null 2>&1 || [ -x /usr/sbin/$$p ] || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$$(echo "$$missing" | sed 's/nginx/nginx-light/') >/dev/null; \
	fi
	@# One after the other: a nodejs from elsewhere brings its npm, and conflicts with Debian's.
	@for p in node npm; do command -v $$p >/dev/null 2>&1 || { \
		echo "installing $$p"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$$(echo $$p | sed 's/^node$$/nodejs/') >/dev/null; \
	} || exit 1; done
	@[ -x $(CHROMIUM) ] || { \
		echo "installing chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core >/dev/null; \
	}
	@command -v gcc >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev >/dev/null; }
	@for m in $(MODULES); do (cd $$m && $(GO) mod download) || exit 1; done

## lint: formatting, go vet, staticcheck, golangci-lint, all pinned
lint: tools
	@out=$$($(BIN)/gofumpt -l .); [ -z "$$out" ] || { echo "not formatted (gofumpt -w .):"; echo "$$out"; exit 1; }
	@for m in $(MODULES); do \
		echo "lint $$m"; \
		(cd $$m && $(GO) mod tidy -diff && $(GO) vet ./... && $(GO) vet -tags load ./... && $(BIN)/staticcheck ./... && $(BIN)/golangci-lint run ./...) || exit 1; \
	done

# unit: every test with the race detector, then once more those that count allocations, which the detector falsifies.
unit:
	@for m in $(MODULES); do \
		echo "test $$m"; \
		(cd $$m && $(GO) test -race -timeout 15m ./...) || exit 1; \
	done
	$(GO) test -run 'Alloc|Overhead' ./...

## conformance: the public suite for HTTP caches against the standalone proxy; fails if conformance/results.json does not say what came out
conformance: $(SUITE)
	$(GO) build -o $(BIN)/standalone ./examples/standalone
	node conformance/run.mjs $(BIN)/standalone

$(SUITE): conformance/package-lock.json
	npm ci --prefix conformance --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@

## e2e: Chromium, with the standalone proxy in front of an origin that fails and heals; SCREENSHOTS=1 takes the pictures of the README anew
e2e: $(VISITOR)
	$(GO) build -o $(BIN)/standalone ./examples/standalone
	CHROMIUM=$(CHROMIUM) node e2e/run.mjs $(BIN)/standalone

$(VISITOR): e2e/package-lock.json
	npm ci --prefix e2e --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@

## bench: a first look at every benchmark; BENCHCOUNT=10 and benchstat for a comparison
bench:
	@for m in $(MODULES); do (cd $$m && $(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(BENCHCOUNT) ./...) || exit 1; done

## load: what hits, misses and a herd cost beside a bare handler, the backend beside httputil.ReverseProxy, and overloads; it wants a quiet machine
load:
	$(GO) test -tags load -run '^TestLoad$$' -count 1 -v -p 1 ./cache ./backend ./examples/standalone

## law: every row of the adaptive limit's simulations twenty times
law:
	$(GO) test ./ratelimit -run TestLaw -seeds 20

## fuzz: every fuzz target for FUZZTIME
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

## demo: the proxy in front of an origin that you can break
demo:
	$(GO) run ./examples/standalone

tools: $(BIN)/golangci-lint $(BIN)/staticcheck $(BIN)/gofumpt

$(BIN)/golangci-lint: Makefile
	GOBIN=$(BIN) $(GO) install $(GOLANGCI) && touch $@
$(BIN)/staticcheck: Makefile
	GOBIN=$(BIN) $(GO) install $(STATICCHECK) && touch $@
$(BIN)/gofumpt: Makefile
	GOBIN=$(BIN) $(GO) install $(GOFUMPT) && touch $@

clean:
	rm -rf $(BIN) conformance/node_modules e2e/node_modules
