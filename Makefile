# The two commands: make demo, make test. Both install what they need by
# themselves (scripts/setup), which needs root the first time.

GO       ?= go
FUZZTIME ?= 30s
SHELL    := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# Where Go's own installer puts it, for shells that have not been told.
export PATH := $(PATH):/usr/local/go/bin

# Packages that touch neither kernel nor clock: they run under the race
# detector. The rest needs root (network namespaces, BPF) and runs one package
# at a time, so that no test's timing depends on another's load.
PURE := ^cohort(/(api|ccl/wire|cluster|config|flowtable|packet|policy|sim)(/.*)?)?$$

# package=fuzz test
FUZZ := packet ccl/wire config

.PHONY: setup build generate test demo bench lint fmt clean fuzz vet check-fmt check-generated unit fuzz-short

setup:
	@scripts/setup

build:
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/...

generate: setup
	$(GO) generate ./bpf/...

test: setup vet check-fmt check-generated build unit fuzz-short

vet:
	$(GO) vet ./...

check-fmt:
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [[ -n "$$bad" ]]; then echo "not gofmt'ed (run: make fmt):" $$bad >&2; exit 1; fi

check-generated:
	scripts/check-generated

unit:
	$(GO) test -race $$($(GO) list ./... | grep -E '$(PURE)')
	$(GO) test -p 1 $$($(GO) list ./... | grep -vE '$(PURE)')

# Go fuzzes one target a run: every FuzzX of the packages gets FUZZTIME.
fuzz-short:
	GO=$(GO) scripts/fuzz $(FUZZTIME) $(FUZZ)

fuzz:
	GO=$(GO) scripts/fuzz 10m $(FUZZ)

demo: setup build
	bin/cohort-lab demo

bench: setup build
	$(GO) run ./bench

lint: vet check-fmt
	@mkdir -p .cache
	cd tools && $(GO) build -o ../.cache/ honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt
	.cache/staticcheck ./...
	@bad=$$(.cache/gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [[ -n "$$bad" ]]; then echo "not gofumpt'ed (run: make fmt):" $$bad >&2; exit 1; fi

fmt:
	@mkdir -p .cache
	cd tools && $(GO) build -o ../.cache/ mvdan.cc/gofumpt
	.cache/gofumpt -w $$(git ls-files -co --exclude-standard '*.go')

clean:
	rm -rf bin .cache
