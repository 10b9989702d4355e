# One word for each thing a person does here. Cargo does the building; this file only puts the steps in order.
# `make demo ARGS="--seed 7"`, `make sim ARGS=...` and `make bench ARGS=...` pass options on. Output goes to $CARGO_TARGET_DIR when that is set, else to ./target.

CARGO ?= cargo
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# The tests' mail and webhook receivers run under this Python; tests/setup.sh makes it.
export BUGLE_TEST_PYTHON ?= $(CARGO_TARGET_DIR)/python/bin/python3

# Guests are small and run hot: they are built optimised, unlike everything else, and once for people and for the tests
# (tests/guests/build.rs uses the same folder).
GUESTS := $(CARGO_TARGET_DIR)/guests
PLUGINS := --manifest-path plugins/Cargo.toml

ifneq ($(MAKE_TERMOUT),)
BOLD := $(shell printf '\033[1m')
PLAIN := $(shell printf '\033[0m')
endif
say = @echo "$(BOLD)==>$(PLAIN) $(1)"

.DEFAULT_GOAL := help
.PHONY: help demo test bench plugins lint fmt sim faults docs clean setup build

help: ## show this list
	@echo "Bugle, a WebAssembly-extensible event bus. What would you like to do?"
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/    make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@echo "The first build compiles RocksDB and wasmtime and takes several minutes; later ones take seconds."

demo: build ## publish real events through the bus, kill it half-way, check that nothing is lost
	$(call say,running the demo)
	@$(CARGO_TARGET_DIR)/debug/bugle-demo $(ARGS)

test: plugins ## build everything and run every test
	$(call say,building the host and the tests (the first time takes several minutes))
	@$(CARGO) build --workspace --bins --tests
	$(call say,running the tests of the host and the SDK)
	@$(CARGO) test --workspace
	$(call say,running the tests of the plugins)
	@$(CARGO) test $(PLUGINS) --workspace

# Our own crates as in a release, like the dependencies; the next `make demo` or `make test` builds them again as they are developed.
bench: export CARGO_PROFILE_DEV_OPT_LEVEL := 3
bench: export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS := false
bench: export CARGO_PROFILE_DEV_OVERFLOW_CHECKS := false
bench: build ## measure ingest, end to end and single calls on this machine
	$(call say,running the benchmarks)
	@$(CARGO_TARGET_DIR)/debug/bugle-bench $(ARGS)

plugins: setup ## build the plugins as WebAssembly components
	$(call say,building the plugins)
	@CARGO_TARGET_DIR=$(GUESTS) $(CARGO) build $(PLUGINS) --workspace --locked --target wasm32-wasip2 --release
	$(call say,they are in $(GUESTS)/wasm32-wasip2/release)

lint: setup ## formatting, clippy and rustdoc, with warnings as errors
	$(call say,checking the formatting)
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt $(PLUGINS) --all --check
	$(call say,clippy)
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(CARGO) clippy $(PLUGINS) --workspace --all-targets -- -D warnings
	$(call say,rustdoc)
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

fmt: ## format the code
	@$(CARGO) fmt --all
	@$(CARGO) fmt $(PLUGINS) --all

sim: setup ## run 20,000 random histories with faults; ARGS="--minutes 30" for as many as fit
	$(call say,running the simulator)
	@$(CARGO) run --package bugle-sim -- $(ARGS)

faults: build ## kill the real host again and again under load and check what is left
	$(call say,running the crash loop)
	@BUGLE_CHAOS_EVENTS=100000 BUGLE_GMV_EVENTS=200000 BUGLE_STRONG_SENDS=10000 BUGLE_FAN_OUT=1000000 $(CARGO) test --workspace --test e2e -- --nocapture kill

docs: setup ## build the API documentation
	@$(CARGO) doc --workspace --no-deps
	$(call say,open $(CARGO_TARGET_DIR)/doc/bugle/index.html)

clean: ## delete everything that was built
	@$(CARGO) clean

setup: ## check this machine and install what is missing
	@tests/setup.sh

# Always the whole workspace: cargo unifies features over the packages it is asked for, so asking for single ones would
# compile their dependencies again.
build: plugins
	$(call say,building the host (the first time takes several minutes))
	@$(CARGO) build --workspace --bins
