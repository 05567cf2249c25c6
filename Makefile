# The commands of the project. A fresh Debian 12 with git, make, a C compiler, Rust 1.95 and python3-venv is
# enough: whatever else is needed is fetched from the registries into ${LATEEN_CACHE:-~/.cache/lateen}.

SHELL := /bin/sh
CARGO ?= cargo
export RUST_BACKTRACE ?= 1

.PHONY: help demo demo-check test test-release check unit build schemas e2e servers test-adapters conformance gateway-api fuzz bench proto

help:
	@echo "make demo        six services behind stock Envoys, configured live from a folder of YAML"
	@echo "make demo-check  the demo's tour as assertions"
	@echo "make test        all that follows, but for bench and proto"
	@echo "make test-release  make test, and make gateway-api"
	@echo "make check       format, lints, docs, architecture test"
	@echo "make unit        unit and property tests"
	@echo "make schemas     the fields of Istio's and the Gateway API's objects are still those of our table"
	@echo "make servers     builds etcd, Consul, Nomad and Kubernetes from the Go module registry, once (20 minutes)"
	@echo "make test-adapters  the adapters on those servers (Nomad needs root: it mounts cgroups)"
	@echo "make conformance the conformance suite on our server, beside go-control-plane; deliberate faults that it must find"
	@echo "make gateway-api the requests of the official Gateway API suite, without Kubernetes (root: network namespaces)"
	@echo "make e2e         real Envoys and gRPC clients on every platform, and the demo's check"
	@echo "make fuzz        every parser of outside bytes, a minute each"
	@echo "make bench       the control plane against its floor, and instruction counts"
	@echo "make proto       regenerates proto/ from Envoy's Go module"

demo: ENVOY = $(shell tools/fetch-envoy.sh)
demo:
	@test -n "$(ENVOY)"
	$(CARGO) build --release --bin lateen
	target/release/lateen demo --envoy $(ENVOY) $(ARGS)

demo-check:
	$(MAKE) demo ARGS=--check

test: check unit schemas test-adapters conformance e2e fuzz

# Beside all that, what takes longer.
test-release: test gateway-api

# The tests of the packages in ONLY.
TESTS = $(CARGO) --config 'target."cfg(all())".runner = "$(CURDIR)/tools/only.sh"' test --workspace
# Crates whose tests need a real server.
PLATFORMS = lateen-adapter-consul lateen-adapter-etcd lateen-adapter-kubernetes lateen-adapter-nomad
NEED_NONE = $(filter-out lateen lateen-tests $(PLATFORMS),$(shell sed -n 's/^name = "\(lateen.*\)"$$/\1/p' Cargo.lock))

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(CARGO) clippy --workspace --features lateen/faults --test mutations --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	ONLY=lateen-tests $(TESTS) --quiet --test architecture

unit: build
	ONLY="$(NEED_NONE)" $(TESTS) --lib --bins --tests
	ONLY=lateen $(TESTS) --bins --test output
	$(CARGO) build --workspace --example re2
	$$(tools/fetch-re2.sh) tools/re2/verdicts.py compare target/debug/examples/re2 10000

# All tests, and target/debug/lateen, which some of them need.
build:
	$(CARGO) test --workspace --no-run

# A field that is new in a schema has to be decided about.
schemas:
	tools/fetch-schemas.sh

servers:
	tests/servers/build.sh

# One server at a time: they share two cores with each other and with what is measured.
test-adapters: servers build
	ONLY="$(PLATFORMS)" $(TESTS) --lib --tests -- --test-threads 2
	ONLY=lateen $(TESTS) --test sources -- --test-threads 1

# The deliberate faults are compiled into the last build only; the next one of the binary is without them.
conformance: build
	tools/conformance.sh target/debug/lateen
	tools/conformance-compare.sh target/debug/lateen
	ONLY=lateen $(TESTS) --test stalled -- --nocapture
	ONLY=lateen $(TESTS) --features lateen/faults --test mutations

gateway-api: build
	tools/gateway-api-suite.sh target/debug/lateen

# Tests on real servers. Nothing is skipped silently: a server that can't be had fails the run.
e2e: ENVOY = $(shell tools/fetch-envoy.sh)
e2e: PYTHON = $(shell tools/fetch-clients.sh)
e2e: servers build
	@test -n "$(ENVOY)" && test -n "$(PYTHON)"
	tests/clients/build.sh
	LATEEN_BIN=$(CURDIR)/target/debug/lateen LATEEN_ENVOY=$(ENVOY) LATEEN_PYTHON=$(PYTHON) \
		ONLY=lateen-tests $(TESTS) --lib --tests -- --test-threads 1
	folder=$$(mktemp -d) && target/debug/lateen demo --check --envoy $(ENVOY) --folder $$folder/demo; \
		status=$$?; rm -rf $$folder; exit $$status

fuzz:
	tools/fuzz.sh

bench:
	tools/bench.sh

proto:
	proto/regenerate/run.sh
