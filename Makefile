# The commands of the project. A fresh Debian 12 with git, make, a C compiler, Rust 1.95 and python3-venv is
# enough: whatever else is needed is fetched from the registries into ${LATEEN_CACHE:-~/.cache/lateen}.

SHELL := /bin/sh
CARGO ?= cargo
export RUST_BACKTRACE ?= 1

.PHONY: help demo demo-check test check unit e2e fuzz bench proto

help:
	@echo "make demo        six services behind stock Envoys, configured live from a folder of YAML"
	@echo "make demo-check  the demo's tour as assertions"
	@echo "make test        check, unit and property tests, tests on real Envoys and gRPC clients, fuzz bodies"
	@echo "make check       format, lints, docs, architecture test"
	@echo "make bench       the control plane against its floor, and instruction counts"
	@echo "make proto       regenerates proto/ from Envoy's Go module"

demo: ENVOY = $(shell tools/fetch-envoy.sh)
demo:
	@test -n "$(ENVOY)"
	$(CARGO) build --release --bin lateen
	target/release/lateen demo --envoy $(ENVOY) $(ARGS)

demo-check:
	$(MAKE) demo ARGS=--check

test: check unit e2e fuzz

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	$(CARGO) test --quiet --package lateen-tests --test architecture

unit:
	$(CARGO) test --workspace --exclude lateen-tests --lib --bins --tests

# Tests on real servers. Nothing is skipped silently: a server that can't be had fails the run.
e2e: ENVOY = $(shell tools/fetch-envoy.sh)
e2e: PYTHON = $(shell tools/fetch-clients.sh)
e2e:
	@test -n "$(ENVOY)" && test -n "$(PYTHON)"
	$(CARGO) build --bin lateen
	LATEEN_BIN=$(CURDIR)/target/debug/lateen LATEEN_ENVOY=$(ENVOY) LATEEN_PYTHON=$(PYTHON) \
		$(CARGO) test --package lateen-tests --lib --tests -- --test-threads 1
	folder=$$(mktemp -d) && target/debug/lateen demo --check --envoy $(ENVOY) --folder $$folder/demo; \
		status=$$?; rm -rf $$folder; exit $$status

fuzz:
	tools/fuzz.sh

bench:
	tools/bench.sh

proto:
	proto/regenerate/run.sh
