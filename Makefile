# `make help` lists what there is to do.

BINARY := bin/lumin-ingest
LINT   := go tool -modfile=tools/go.mod golangci-lint

# The race detector needs a C compiler on most systems. Without one the tests
# still run, and say so.
RACE := $(shell command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1 && echo -race)

FUZZTIME  ?= 60s
BENCHTIME ?= 2s
REPLAY_RUNS ?= 1000000
TOGETHER    ?= 3m
FAULTS_FOR  ?= 10m
FAULTS_RATE ?= 60
JOBS        ?= 200000

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lumin-ingest
	go build -o $(BINARY) ./cmd/lumin-ingest

.PHONY: run
run: build ## a private PostgreSQL, the program, and a demo against itself; Ctrl-C ends it all
	@exec ./$(BINARY) dev

.PHONY: test
test: ## all tests, with the race detector and a private PostgreSQL
	@test -n "$(RACE)" || echo "no C compiler found: the tests run WITHOUT the race detector" >&2
	go test $(RACE) -timeout 10m ./...

.PHONY: test-memory
test-memory: ## memory of an idle program and of one in a flood, which the race detector would distort
	go test -count 1 -run 'IdleMemory|FloodMemory' ./app

.PHONY: test-memory-jobs
test-memory-jobs: ## memory over JOBS (200000) jobs, which must stay what it is
	LUMIN_TEST_JOBS=$(JOBS) go test -count 1 -v -timeout 1h -run TestMemoryIsFlat ./worker | grep -v '^ *{'

.PHONY: test-slow
test-slow: ## a job whose program is killed while it runs: River takes it up again within 90 s
	LUMIN_TEST_SLOW=1 go test -count 1 -v -run WhileWorking ./app

.PHONY: test-replay
test-replay: ## a replay of REPLAY_RUNS (1000000) runs with ten kills of the program; an hour or so
	LUMIN_TEST_REPLAY=$(REPLAY_RUNS) go test -count 1 -v -timeout 3h -run ReplayKilled ./app

.PHONY: test-together
test-together: ## ingest, replays, retention and erasures at once, for TOGETHER (3m)
	LUMIN_TEST_TOGETHER=$(TOGETHER) go test -race -count 1 -v -timeout 1h -run 'TestTogether$$' ./app | grep -v '^ *{'

.PHONY: test-faults
test-faults: ## kills, failovers and broken connections for FAULTS_FOR (10m), then a check that nothing is lost or doubled; SEED=n repeats a run
	LUMIN_TEST_FAULTS_FOR=$(FAULTS_FOR) LUMIN_TEST_FAULTS_RATE=$(FAULTS_RATE) LUMIN_TEST_FAULTS_SEED=$(SEED) \
		go test -count 1 -v -timeout 24h -run 'TestManyFaults$$' ./internal/faults

.PHONY: examples
examples: ## build, vet and test the examples, which are modules of their own, against this checkout
	@for module in examples examples/starter; do \
		echo "$$module"; \
		(cd $$module && go build -o /dev/null ./... && go vet ./... && go test $(RACE) -timeout 10m ./...) || exit 1; \
	done

.PHONY: check
check: fmt vet lint test test-memory examples ## what CI runs: format, vet, lint, test, and the examples

.PHONY: fmt
fmt: ## fail if a file is not formatted
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; }

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: ## golangci-lint, built from the versions in tools/go.mod
	$(LINT) run ./...

.PHONY: bench
bench: ## Go benchmarks, then operations on 1,000,000 events; on private PostgreSQLs with fsync on
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./lumin ./store ./worker
	go run ./internal/bench

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (60s)
	@go list ./... | while read -r package; do \
		go test -list '^Fuzz' $$package | grep '^Fuzz' | while read -r target; do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
		done || exit 1; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
