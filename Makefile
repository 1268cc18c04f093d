# make run     the demo: a simulated shop with real cache trouble, at http://127.0.0.1:3000
# make test    everything that is checked before a change lands
# make test-faults  the same crashes and random keyspaces many times over: half an hour
# make check   format and lints only
# make build   the release binary, one file, at target/release/stalewatch
# make bench   benchmarks; figures in target/bench/summary.json
# make bench-full  the same at the large sizes
# make setup   installs what is missing; the others do that by themselves

SHELL := /bin/sh
export PATH := $(HOME)/.cargo/bin:$(PATH)
# Queries are checked against .sqlx, so that no build needs a database.
export SQLX_OFFLINE := true
unexport DATABASE_URL

TARGET := $(or $(CARGO_TARGET_DIR),target)
WASM := $(TARGET)/wasm32-unknown-unknown/wasm-release/stalewatch.wasm
SITE := target/site
PACKED := target/site.packed
# What the islands are made of: everything that is not the server's alone.
ISLANDS := $(shell find src -name '*.rs' -not -path 'src/server/*' -not -path 'src/ui/*' -not -path 'src/tests/*') Cargo.toml Cargo.lock
PUBLIC := $(shell find style public -type f)
WASM_OPT := $(firstword $(wildcard end2end/node_modules/.bin/wasm-opt) $(shell command -v wasm-opt 2>/dev/null))

.PHONY: run test test-faults check build bench bench-full setup assets budget

run: assets
	@cargo build --features ssr
	@exec $(TARGET)/debug/stalewatch demo $(ARGS)

setup:
	@.ci/setup test

assets: $(PACKED)

# Built at most once: a change of style packs anew and builds nothing.
$(WASM): $(ISLANDS) .ci/islands
	@.ci/setup run
	@.ci/islands
	@touch $@

$(PACKED): $(WASM) $(PUBLIC) $(wildcard .cargo/pack/src/*.rs)
	@.ci/setup run
	@mkdir -p target
	@cargo run --quiet --manifest-path .cargo/pack/Cargo.toml -- --wasm $(WASM) --style style/main.css --public public --out $(SITE) \
	  --wasm-opt "$(WASM_OPT)"
	@touch $@

# Wasm and script, compressed, hold to 100 KiB.
budget: $(PACKED)
	@size=$$(cat $(SITE)/pkg/*.wasm.br $(SITE)/pkg/*.js.br | wc -c); echo "wasm and script: $$((size / 1024)) KiB compressed"; \
	  [ "$$size" -gt 0 ] && [ "$$size" -le 102400 ]

test:
	@.ci/setup test
	@.ci/test

# Loops of what `make test` does once, and what has to wait for a lease.
test-faults:
	@.ci/setup test
	PROPTEST_CASES=2000 cargo test --features ssr --lib -- whatever_bytes_they_contain
	cargo test --features ssr --test integration -- --ignored
	for round in 1 2 3 4 5; do cargo test --features ssr --test integration -- flush::crash flush::resume flush::brake || exit 1; done

check:
	@.ci/setup run
	cargo fmt --check
	cargo clippy --features ssr --all-targets -- -D warnings
	cargo clippy --lib --features hydrate --target wasm32-unknown-unknown -- -D warnings

build: assets
	cargo build --release --features ssr

bench: assets
	@.ci/setup test
	cargo bench --features ssr --bench audit --bench flush --bench ingest --bench notify --bench read --bench web

# The large sizes: half an hour and more.
bench-full: assets
	@.ci/setup test
	STALEWATCH_BENCH_KEYS=5000000 cargo bench --features ssr --bench flush
	STALEWATCH_BENCH_EVENTS=2000000 cargo bench --features ssr --bench ingest
	STALEWATCH_BENCH_ROWS=50000000 cargo bench --features ssr --bench read
