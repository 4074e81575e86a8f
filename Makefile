# The two commands: make demo, make test. Both install what they need by
# themselves (scripts/setup), which needs root the first time.

GO       ?= go
FUZZRUNS ?= 150000
SHELL    := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# Where Go's own installer puts it, for shells that have not been told.
export PATH := $(PATH):/usr/local/go/bin

# Packages without kernel and without a simulated or real network: they run
# under the race detector (scripts/unit tells how the rest does).
PURE := ^cohort(/(api|ccl/(reliable|seal|wire)|cluster|config|flowtable|nat|node/core|packet|policy)(/.*)?)?$$

# Packages whose fuzz tests run.
FUZZ := packet ccl/wire config cluster/sequence cluster/fragments

.PHONY: setup build install generate test demo bench lint fmt clean fuzz vet check-fmt check-generated unit kernel-slice fuzz-short

setup:
	@scripts/setup

# Static: what one machine builds runs on every Linux, whatever its C library.
build:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/ ./cmd/...

# Programs and the systemd unit; starts nothing. DESTDIR for packagers.
install: build
	install -d '$(DESTDIR)/usr/local/bin' '$(DESTDIR)/etc/systemd/system'
	install -d -m 700 '$(DESTDIR)/etc/cohort'
	install bin/cohort bin/cohortd '$(DESTDIR)/usr/local/bin'
	install -m 644 deploy/systemd/cohortd.service '$(DESTDIR)/etc/systemd/system'

generate: setup
	$(GO) generate ./...

test: setup vet check-fmt check-generated build unit kernel-slice fuzz-short

vet:
	$(GO) vet ./...

check-fmt:
	@bad=$$(gofmt -l .); \
	if [[ -n "$$bad" ]]; then echo "not gofmt'ed (run: make fmt):" $$bad >&2; exit 1; fi

check-generated:
	scripts/check-generated

unit:
	GO=$(GO) scripts/unit '$(PURE)'

# Each fuzz test runs FUZZRUNS times; longer: make fuzz.
fuzz-short:
	GO=$(GO) scripts/fuzz $(FUZZRUNS) $(FUZZ)

fuzz:
	GO=$(GO) scripts/fuzz 15000000 $(FUZZ) ccl/seal ccl/reliable

# The tests of the BPF programs on Debian 12's own kernel, in qemu: a minute for
# the slice without hardware virtualisation, three or four for all of them.
# A part: make kernel-6.1 ARGS='-run TestFR6 bpf'
.PHONY: kernel-6.1
kernel-6.1: setup
	GO=$(GO) scripts/kernel-6.1 -command 'make kernel-6.1' $(ARGS)

kernel-slice: setup
	GO=$(GO) scripts/kernel-6.1 -slice

demo: setup build
	bin/cohort-lab demo

# Every part once, small: shows that it works, in a few minutes, and nothing else.
# All of it for real takes about an hour of an idle machine of two cores and
# writes docs/results/bench.*. PARTS chooses: make bench-full PARTS=path,scale;
# one part in pieces: go run ./bench -only scale -nodes 4 -spread packets -add
PARTS ?=
bench: setup build
	$(GO) run -buildvcs=false ./bench -quick -out '' $(if $(PARTS),-only $(PARTS))

.PHONY: bench-full
bench-full: setup build
	$(GO) run -buildvcs=false ./bench $(if $(PARTS),-add -only $(PARTS))

lint: vet check-fmt
	@mkdir -p .cache
	cd tools && $(GO) build -o ../.cache/ honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt
	.cache/staticcheck ./...
	@bad=$$(.cache/gofumpt -l .); \
	if [[ -n "$$bad" ]]; then echo "not gofumpt'ed (run: make fmt):" $$bad >&2; exit 1; fi

fmt:
	@mkdir -p .cache
	cd tools && $(GO) build -o ../.cache/ mvdan.cc/gofumpt
	.cache/gofumpt -w .

clean:
	rm -rf bin .cache

# The proof campaigns at full size, on real daemons in namespaces; results go
# to docs/results. RUN selects tests, ROUNDS shortens those that go in rounds:
# make campaign RUN=HL5_Kills/daemon ROUNDS=20
RUN    ?= .
ROUNDS ?= 0

.PHONY: campaign
campaign: setup build
	$(GO) test -count=1 -v -timeout 4h ./testenv/campaign -run '$(RUN)' -campaign.full -campaign.rounds $(ROUNDS) \
		-campaign.out '$(CURDIR)/docs/results' -campaign.command "make campaign RUN='$(RUN)' ROUNDS=$(ROUNDS)"

# Seeds of each of the simulator's scenarios (six of them): 10^5 runs in all,
# about a quarter of an hour on two cores. A failing run prints how to replay it.
# With everything translated (about fifty minutes): make seeds SIM='TestNT4_NT5$$'
SEEDS ?= 16700
FIRST ?= 1000001
SIM   ?= TestFR1_

.PHONY: seeds
seeds:
	GOGC=400 $(GO) test ./sim -run '$(SIM)' -count=1 -v -timeout 0 -args -seeds $(SEEDS) -first $(FIRST)
