# make prints its targets. Everything it makes is in bin/, .cache/ and the projects under functions/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED := 0
# In force for vet, the linter and the tests too: what is compiled without it can't be used with it, and on a machine
# whose cache is empty compiling gVisor and SQLite takes minutes.
export GOFLAGS += -trimpath
GOFLAGS_STATIC := -ldflags=-s\ -w
STATICCHECK := go tool staticcheck

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# AWS's own reading and writing of values in Java: part of the binary, and not of this repository.
SERIALIZATION := internal/runtimes/java/lib/aws-lambda-java-serialization.jar
SERIALIZATION_VERSION := 1.4.1
SERIALIZATION_SHA256 := 0ab04580117a1a326c7abea912331c77bec1292ce0c22285eb2d40563145dd9b

$(SERIALIZATION): Makefile
	@if echo "$(SERIALIZATION_SHA256)  $@" | sha256sum --check --status 2>/dev/null; then touch $@; exit 0; fi; \
	 if ! command -v mvn >/dev/null; then echo "left out $@: no mvn (apt-get install maven); functions in Java can't be run"; exit 0; fi; \
	 echo "fetching $@"; mkdir -p .cache/maven; \
	 mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory=$(CURDIR)/.cache/maven \
	   -Dartifact=com.amazonaws:aws-lambda-java-serialization:$(SERIALIZATION_VERSION); \
	 jar=.cache/maven/aws-lambda-java-serialization-$(SERIALIZATION_VERSION).jar; \
	 echo "$(SERIALIZATION_SHA256)  $$jar" | sha256sum --check --status || { echo "$$jar is not what was pinned"; exit 1; }; \
	 cp $$jar $@

build: bin/runsc $(SERIALIZATION) ## build bin/she, its helpers bin/she-init, bin/she-wasm, bin/she-probe, and bin/runsc, static
	@go build $(GOFLAGS_STATIC) -o bin/ ./cmd/she ./cmd/she-init ./cmd/she-wasm ./cmd/she-probe

# gVisor is large: it is built again only when its module list changes, or what we put around it.
RUNSC_SOURCES := $(wildcard cmd/runsc/*.*) $(wildcard cmd/runsc/*/*.go) $(shell find cmd/runsc/_gvisor -type f) $(wildcard internal/sandbox/gvisor/launch/*)
# gVisor as we change it (cmd/runsc/edit), which takes a copy of its module.
EDITED := -modfile=$(CURDIR)/.cache/gvisor.mod -tags=edited

bin/runsc: .cache/gvisor-version
	@echo "building runsc from the gVisor module (once, about two minutes on two cores)"
	@mkdir -p bin
	@go -C cmd/runsc run ./edit -to $(CURDIR)/.cache/gvisor
	@go -C cmd/runsc build $(GOFLAGS_STATIC) $(EDITED) -o $(CURDIR)/$@ .
	@go -C cmd/runsc build $(GOFLAGS_STATIC) -o $(CURDIR)/bin/gvisor-bin/gvisor-sentry-prewarmer ./enter
	@touch $@

# The same program with gVisor as its authors publish it: it costs more and promises the same.
.cache/published/runsc: .cache/gvisor-version
	@echo "building runsc from gVisor as it is published"
	@mkdir -p $(@D)
	@go -C cmd/runsc build $(GOFLAGS_STATIC) -o $(CURDIR)/$@ .
	@go -C cmd/runsc build $(GOFLAGS_STATIC) -o $(CURDIR)/$(@D)/gvisor-bin/gvisor-sentry-prewarmer ./enter
	@touch $@

gvisor-diff: bin/runsc ## print what we change in gVisor as a patch
	@git diff --no-index --no-prefix "$$(go -C cmd/runsc list -m -f '{{.Dir}}' gvisor.dev/gvisor)" .cache/gvisor || true

.cache/gvisor-version: $(RUNSC_SOURCES)
	@mkdir -p .cache
	@v="$$(go version) $$(cat $(RUNSC_SOURCES) | sha256sum)"; \
	 if [ "$$v" != "$$(cat $@ 2>/dev/null)" ]; then echo "$$v" > $@; else touch -r bin/runsc $@ 2>/dev/null || true; fi

include functions/Makefile
include internal/shetest/Makefile
include internal/lambdaapi/Makefile

demo: build examples ## store invented data, run three functions over it, show what they found (ONCE=1 ends by itself)
	@bin/she demo --functions functions $(if $(DATA),--data $(DATA)) $(if $(ONCE),--once)

deps: ## install what the tests need (Debian, as root)
	@.ci/deps
	@.ci/dotnet

# What each package's tests need. What is in no list needs nothing and has goroutines.
SANDBOX_TESTS := ./internal/doctor ./internal/sandbox/...
LANGUAGE_TESTS := ./internal/invoke
STORY_TESTS := ./cmd/she ./internal/shetest
DATABASE_TESTS := ./internal/bundle ./internal/jsonb ./internal/pgtime ./internal/textsearch ./internal/vault/ledger
# Functions of their arguments: millions of random steps, and nothing for the race detector to see in them.
PURE_TESTS := $(addprefix ./internal/,access backlog contract debit feed fuel hat plan receipt sample trigger)
# Raced in their short tests, and run in full without: the rest is random steps, or a server that is a process of its own.
UNRACED_TESTS := $(PURE_TESTS) $(DATABASE_TESTS) $(STORY_TESTS) ./functions
# What -short leaves out of cmd/she and has the server in the test's own process.
RACED_STORIES := '^TestScenariosOverDays$$'
RACED_TESTS = $(filter-out $(shell go list $(UNRACED_TESTS) $(SANDBOX_TESTS) $(LANGUAGE_TESTS)),$(shell go list ./...))

GO_TEST := SHE_TEST_ALL=1 go test -vet=off -count=1 -timeout 30m
# SQLite is C, translated to Go. Its memory is none that the race detector watches, and watching it made tests five times
# slower. The driver above it is watched.
UNWATCHED := $(foreach c,modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory,-gcflags=$(c)=-race=false)
GO_RACE := CGO_ENABLED=1 go test -vet=off -race $(UNWATCHED) -timeout 30m
GO_RACED := SHE_TEST_ALL=1 $(GO_RACE) -count=1

lint: build
	@out="$$(gofmt -l $$(git ls-files '*.go' | grep -v testdata))"; [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	@go vet ./...
	@$(STATICCHECK) ./...

check: lint ## any machine, before each commit: format, vet, staticcheck, architecture, all short tests with the race detector
	@$(GO_RACE) -short ./...

# SQLite waits for the disk at each commit. In memory it need not, and what is written survives kill -9 all the same.
MEMORY := $(shell room=$$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1); [ "$${room:-0}" -lt 4000000 ] || echo /dev/shm)
IN_MEMORY := $(if $(MEMORY),GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=$(MEMORY))

test-race: build ## any machine: all tests of what has goroutines and needs no sandbox, with the race detector
	@$(IN_MEMORY) $(GO_RACE) -count=1 $(RACED_TESTS)

test-pure: ## any machine: all tests of packages that are functions of their arguments
	@$(GO_TEST) $(PURE_TESTS)

test-databases: ## PostgreSQL 15: the query language beside the database whose semantics it has, the vault on it
	@$(GO_TEST) $(DATABASE_TESTS)

test-sandbox: build ## root, and gVisor's needs: the walls, from inside and outside
	@go -C cmd/runsc vet $(EDITED) ./... && go -C cmd/runsc test -vet=off $(EDITED) ./...
	@$(GO_RACED) $(SANDBOX_TESTS)

test-published: .cache/published/runsc ## root: copies and walls with gVisor as it is published, without our edits
	@SHE_BIN=$(CURDIR)/$(<D) $(GO_TEST) -run 'Cop(y|ies)|Image|Rehears|Kernels|Clocks' ./internal/invoke ./internal/sandbox/gvisor

test-languages: build functions functions-test ## root, and Node.js, Python, Java, .NET, Rust and clang: functions in each language
	@$(GO_RACED) $(LANGUAGE_TESTS)

test-stories: build functions clients ## root, Node.js and the functions: the real server, over its command line and HTTP
	@$(GO_RACED) -run $(RACED_STORIES) ./cmd/she
	@$(GO_TEST) -skip $(RACED_STORIES) $(STORY_TESTS)

# Every stage, and no test twice but the short ones that are raced as well.
test: export SHE_TEST_ALL := 1
test: deps lint functions clients functions-test test-race ## everything, nothing is skipped: all stages
	@$(GO_RACE) -short $(UNRACED_TESTS)
	@go -C bench vet ./...
	@go -C cmd/runsc vet $(EDITED) ./... && go -C cmd/runsc test -vet=off $(EDITED) ./...
	@$(MAKE) --no-print-directory --jobs 2 walls-raced rest-unraced
	@$(MAKE) --no-print-directory test-published

# Side by side, a package at a time of each: both wait for sandboxes and servers as much as they compute.
walls-raced:
	@$(GO_RACED) -p 1 $(LANGUAGE_TESTS) $(SANDBOX_TESTS)
	@$(GO_RACED) -run $(RACED_STORIES) ./cmd/she

rest-unraced:
	@$(GO_TEST) -p 1 -skip $(RACED_STORIES) $(filter-out ./functions,$(UNRACED_TESTS))

test-cgroup2: ## boot Debian 12 with cgroups of version 2 alone, emulated; run the doctor and the tests of cgroups there (STEPS="sandboxes modules server memory": those)
	@.ci/cgroup2 $(STEPS)

bench: build functions ## measure, beside peers in the same run
	@SHE_TEST_ALL=1 go test -run '^$$' -bench . -benchtime 2s -timeout 60m ./...
	@go -C bench test -run '^$$' -bench . -timeout 60m .

clean: ## remove what was built
	@rm -rf bin .cache

.PHONY: help build gvisor-diff demo deps lint check test test-race walls-raced rest-unraced test-pure test-databases test-sandbox test-published test-languages test-stories test-cgroup2 bench clean
