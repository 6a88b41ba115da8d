# `make help` lists the targets.

# A recipe with a pipe fails if any of its commands fails.
SHELL       := bash
.SHELLFLAGS := -o pipefail -c

BINARY := bin/lumin-ingest
TOOL   := go tool -modfile=tools/go.mod
LINT   := $(TOOL) golangci-lint

# The race detector needs a C compiler on most systems. Without one the tests
# run without the race detector and print a warning.
RACE := $(shell command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null 2>&1 && echo -race)

FUZZTIME  ?= 60s
BENCHTIME ?= 2s
REPLAY_RUNS ?= 1000000
TOGETHER    ?= 3m
FAULTS_FOR  ?= 10m
FAULTS_RATE ?= 60
JOBS        ?= 200000
VERSIONS    ?= 14 15 16 17 18
KILLS       ?= 60
SCALE       ?= 1
OUT         ?= bin/chaos
HOSTILE     ?= 2000

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lumin-ingest
	go build -o $(BINARY) ./cmd/lumin-ingest

.PHONY: run
run: build ## start a private PostgreSQL, the program and a demo; Ctrl-C stops all three
	@exec ./$(BINARY) dev

.PHONY: picture
picture: build ## draw the pictures of the dashboard in the README, docs/dashboard-light.png and -dark.png; needs Chromium
	docs/picture.sh ./$(BINARY)

# The commands of scripts have no race detector: see commandsVariable in app/script_test.go.
.PHONY: test
test: ## run all tests, with the race detector and a private PostgreSQL
	@test -n "$(RACE)" || echo "no C compiler found: the tests run WITHOUT the race detector" >&2
	go test -c -o bin/commands/lumin-ingest ./app
	ln -sf lumin-ingest bin/commands/signing-jobs
	LUMIN_TEST_COMMANDS="$(CURDIR)/bin/commands" go test $(RACE) -timeout 30m ./...

# TESTS selects tests, such as TESTS='-run FewFaults ./internal/faults'. Without
# it, the tests of all packages that start a server run.
.PHONY: test-versions
test-versions: ## run the tests on each of the VERSIONS ("14 15 16 17 18") of PostgreSQL; downloads servers that are not installed
	go run ./internal/pgversions -versions "$(VERSIONS)" $(TESTS)

# axe-core checks accessibility. It is a package of npm, which is asked for it once.
AXE_VERSION ?= 4.14.1
AXE_SHA256  ?= 29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
AXE_CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lumin-ingest
AXE         ?= $(AXE_CACHE)/axe-$(AXE_VERSION).min.js
PICTURES    ?= $(CURDIR)/bin/pictures

.PHONY: test-browser
test-browser: ## test the dashboard in an installed Chromium, with axe-core from npm; pictures of all pages go to PICTURES (bin/pictures)
	@mkdir -p "$(PICTURES)" "$(dir $(AXE))"
	@test -s "$(AXE)" || { cd "$$(mktemp -d)" && npm pack --silent axe-core@$(AXE_VERSION) >/dev/null && tar -xzf *.tgz package/axe.min.js \
		&& echo "$(AXE_SHA256)  package/axe.min.js" | sha256sum --check --quiet && mv package/axe.min.js "$(AXE)"; } \
		|| echo "npm has no axe-core $(AXE_VERSION): the accessibility of the pages is NOT checked. Set AXE to the path of an axe.min.js" >&2
	LUMIN_TEST_BROWSER="$(PICTURES)" LUMIN_TEST_AXE="$$(test -s "$(AXE)" && echo "$(AXE)")" go test -count 1 -v -timeout 30m ./internal/browser | grep -v '^ *{"time'
	@echo "pictures: $(PICTURES)"

.PHONY: test-memory
test-memory: ## test the memory use when idle and under a flood, without the race detector, which would distort it
	go test -count 1 -run 'IdleMemory|FloodMemory|HostileCallers' ./app

.PHONY: test-hmac
test-hmac: ## compare the check of signatures with another HMAC in a million random cases, without the race detector, which would be slow
	go test -count 1 -run VerifyAgrees ./lumin

.PHONY: test-hostile
test-hostile: ## test that deliveries succeed during HOSTILE (2000) hostile connections, without the race detector; prints a line of JSON
	LUMIN_TEST_HOSTILE=$(HOSTILE) go test -count 1 -v -run TestHostileCallers ./app | grep -v '^ *{"time'

.PHONY: test-memory-jobs
test-memory-jobs: ## test that memory stays constant during JOBS (200000) jobs
	LUMIN_TEST_JOBS=$(JOBS) go test -count 1 -v -timeout 1h -run TestMemoryIsFlat ./worker | grep -v '^ *{'

.PHONY: test-slow
test-slow: ## kill the program KILLS (60) times while it works, and test that its jobs run again within 10 s; takes about ten minutes
	LUMIN_TEST_KILLS=$(KILLS) go test -count 1 -v -timeout 1h -run WhileWorking ./app | grep -v '^ *{'

.PHONY: test-replay
test-replay: ## test a replay of REPLAY_RUNS (1000000) runs during ten kills of the program; takes about an hour
	LUMIN_TEST_REPLAY=$(REPLAY_RUNS) go test -count 1 -v -timeout 3h -run ReplayKilled ./app

.PHONY: test-together
test-together: ## test ingest, replays, retention and erasures at the same time, for TOGETHER (3m)
	LUMIN_TEST_TOGETHER=$(TOGETHER) go test -race -count 1 -v -timeout 1h -run 'TestTogether$$' ./app | grep -v '^ *{'

.PHONY: test-faults
test-faults: ## inject kills, failovers and broken connections for FAULTS_FOR (10m), then check that nothing is lost or doubled; SEED=n repeats a run
	LUMIN_TEST_FAULTS_FOR=$(FAULTS_FOR) LUMIN_TEST_FAULTS_RATE=$(FAULTS_RATE) LUMIN_TEST_SEED=$(SEED) \
		go test -count 1 -v -timeout 24h -run 'TestManyFaults$$' ./internal/faults

.PHONY: test-broken
test-broken: ## build programs that break one promise each, and test that the checks notice each within a minute
	LUMIN_TEST_BROKEN=1 go test -count 1 -v -timeout 1h -run 'TestBrokenBuilds$$' ./internal/faults

.PHONY: model
model: ## check the model of claiming, rescue and replay, and its two broken versions; needs spin and a C compiler
	@./internal/model/check.sh

.PHONY: chaos
chaos: ## inject the faults of every row of the fault plan, or of ROWS=T3,T7; options SEED=n and SCALE (1), results in OUT (bin/chaos); takes some hours, needs root
	go run ./internal/chaos $(if $(ROWS),-rows $(ROWS)) $(if $(SEED),-seed $(SEED)) $(if $(OLDER),-before $(OLDER)) -scale $(SCALE) -out $(OUT)

.PHONY: drill-restore
drill-restore: ## lose a server while deliveries arrive, restore it to a point in time, then compare; see docs/operate.md
	docs/drills/restore.sh

.PHONY: drill-failover
drill-failover: ## promote a synchronous standby while deliveries arrive, then compare; see docs/operate.md
	docs/drills/failover.sh

.PHONY: examples
examples: ## build, vet and test the examples (separate modules) against this checkout
	@for module in examples examples/starter; do \
		echo "$$module"; \
		(cd $$module && go build -o /dev/null ./... && go vet ./... && go test $(RACE) -timeout 30m ./...) || exit 1; \
	done

.PHONY: monitoring
monitoring: ## test the alert rules and the dashboard in docs/monitoring (a separate module); with a prometheus in the path, also against it
	cd tools/monitoring && go vet ./... && go test $(RACE) -timeout 30m ./...

.PHONY: openapi
openapi: ## test the document of the API, its examples and its answers with a validator (a separate module)
	cd tools/openapi && go vet ./... && go test $(RACE) -timeout 30m ./...

.PHONY: check
check: fmt vet lint licenses model test test-hmac test-memory examples monitoring openapi bench-quick ## run the checks of CI, except test-browser: format, vet, lint, licenses, the model, tests, signatures, memory, the examples, monitoring, the document of the API and a short benchmark

.PHONY: fmt
fmt: ## fail if a file is not formatted
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; }

.PHONY: vet
vet: ## run go vet
	go vet ./...

.PHONY: lint
lint: ## run golangci-lint in the version from tools/go.mod
	$(LINT) run ./...

# BEFORE is the commit to compare with: the last one that recorded a batch in
# several statements. BENCH holds further flags, such as BENCH='-rounds 5'. go run
# ./internal/bench -help lists them, and without -out it writes no files.
BEFORE ?= f35c78d
.PHONY: bench
bench: ## measure the program against references, into docs/performance; takes about an hour, on a quiet machine
	go run ./internal/bench -before $(BEFORE) -out docs/performance $(BENCH)

.PHONY: bench-quick
bench-quick: ## check in short turns of the benchmark that events, runs, effects and answers are equal in number
	go run ./internal/bench -quick

EVENTS ?= 1000000
.PHONY: bench-dashboard
bench-dashboard: ## measure what ten open dashboards cost ingest, and how fast each page is with EVENTS (1000000) events; on a quiet machine
	go run ./internal/bench -scenario p13 $(BENCH)
	LUMIN_TEST_EVENTS=$(EVENTS) go test -count 1 -v -timeout 1h -run 'TestSpeed$$' ./admin/pages

.PHONY: bench-go
bench-go: ## run the Go benchmarks for BENCHTIME (2s) each
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) ./lumin ./store ./worker

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (60s)
	@go list ./... | while read -r package; do \
		go test -list '^Fuzz' $$package | sed -n '/^Fuzz/p' | while read -r target; do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
		done || exit 1; \
	done

# The licenses that a library may have. go-licenses does not recognize that of
# xi2/xz, which is in the public domain.
LICENSES := Apache-2.0,MIT,BSD-2-Clause,BSD-3-Clause,ISC,MPL-2.0,PostgreSQL
.PHONY: licenses
licenses: ## fail if a library in the program has no license, or one that LICENSES in the Makefile does not list
	@mkdir -p bin
	@go tool -modfile=tools/licenses.mod go-licenses check --ignore lumin-ingest --ignore github.com/xi2/xz \
		--allowed_licenses $(LICENSES) ./cmd/lumin-ingest 2>bin/licenses.log || { grep -v -e 'non-Go code' -e '\.s$$' bin/licenses.log; exit 1; }

# VULN_DB selects another vulnerability database: its address, or file:// and a
# folder.
.PHONY: vuln
vuln: ## search the code for known vulnerabilities; only warns if the vulnerability database is unreachable
	@mkdir -p bin
	@$(TOOL) govulncheck $(if $(VULN_DB),-db $(VULN_DB)) ./... 2>bin/vuln.log; status=$$?; cat bin/vuln.log >&2; \
	if [ $$status -eq 1 ] && grep -q 'fetching vulnerabilities' bin/vuln.log; then \
		echo "the vulnerability database is unreachable: NOTHING WAS CHECKED for known vulnerabilities" >&2; \
	else exit $$status; fi

.PHONY: sbom
sbom: build ## list the libraries in bin/lumin-ingest as a CycloneDX SBOM, in bin/sbom.json
	$(TOOL) cyclonedx-gomod bin -json -std -output bin/sbom.json $(BINARY)

# RELEASE is the build of the Dockerfile.
VERSION ?= $(shell git describe --tags --always --dirty)
RELEASE  = CGO_ENABLED=0 go build -trimpath -tags nodownload -ldflags "-s -w -X lumin-ingest/internal/version.stamped=$(VERSION)"
.PHONY: reproducible
reproducible: ## build the release twice, in different folders and with empty caches, and compare the checksums
	@work="$$(mktemp -d)" && trap 'rm -rf "$$work"' EXIT && \
	for folder in first the/second; do \
		mkdir -p "$$work/$$folder" && git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$$work/$$folder" && \
		(cd "$$work/$$folder" && GOCACHE="$$work/cache/$$folder" $(RELEASE) -o "$$work/$$folder.out" ./cmd/lumin-ingest) || exit 1; \
	done; \
	cd "$$work" && sha256sum first.out the/second.out && cmp first.out the/second.out

.PHONY: clean
clean: ## remove build output
	rm -rf bin
