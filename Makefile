# What is done often. `make help` lists it; .ci/run is what has to pass.

CARGO ?= cargo
JOBS  ?=
FLAGS  = $(if $(JOBS),-j$(JOBS))
FOR   ?=
FRESH ?=

# Of `make bench`: the folder has to be on a disk, and the servers' user has to be able to look into it.
BENCH_DIR  ?= $(CURDIR)/target/bench
COMPARE     = --manifest-path benches/compare/Cargo.toml --target-dir target/compare
SCALE      ?=
ROUNDS     ?=
ONLY       ?=
CONTENDERS ?=
BASELINE   ?=

.PHONY: help demo test test-long lint fmt bench bench-encode doc servers
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

demo: ## a throw-away Postgres, a shop at work in it, and its changes as slotd streams them (FOR=20: ends after 20 s)
	@tests/servers.sh 18
	@$(CARGO) build -q $(FLAGS) --bin slotd --example demo
	@exec $(CARGO) run -q $(FLAGS) --example demo -- $(FOR)

servers: ## Postgres 15 to 18, in .servers or $SLOTD_SERVERS
	@tests/servers.sh

test: servers ## every test but the long ones, against Postgres 15 to 18
	@$(CARGO) test $(FLAGS) --features faults --lib --test it </dev/null

test-long: servers ## the long tests and the fuzz targets, step by step; goes on where it stopped in this tree (FRESH=1: anew)
	@FRESH=$(FRESH) CARGO="$(CARGO)" tests/long.sh

lint: ## format, clippy, the fuzz targets, licences and sources, shell
	$(CARGO) fmt --check
	$(CARGO) clippy -q $(FLAGS) --all-targets --features faults -- -D warnings
	$(CARGO) clippy -q $(FLAGS) --bins --lib --examples -- -D warnings
	$(CARGO) check -q $(FLAGS) --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	$(CARGO) fmt --manifest-path benches/compare/Cargo.toml --check
	$(CARGO) clippy -q $(FLAGS) $(COMPARE) -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --log-level warn check bans licenses sources; \
		else echo 'lint: no cargo-deny here, deny.toml is not checked'; fi
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run tests/*.sh benches/compare/*.sh; \
		else echo 'lint: no shellcheck here, the scripts are not checked'; fi

fmt: ## format everything
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path benches/compare/Cargo.toml

bench: ## slotd beside pg_recvlogical, wal2json, pg_walstream and Debezium (SCALE=0.1 ROUNDS=2 ONLY=rows: quickly); docs/bench
	@tests/servers.sh 15 18
	@mkdir -p "$(BENCH_DIR)"
	$(CARGO) build -q $(FLAGS) --release --bin slotd
	$(CARGO) build -q $(FLAGS) --release $(COMPARE) --features walstream
	@TMPDIR="$(BENCH_DIR)" SCALE="$(SCALE)" ROUNDS="$(ROUNDS)" ONLY="$(ONLY)" CONTENDERS="$(CONTENDERS)" \
		BASELINE="$(BASELINE)" target/compare/release/slotd-compare

bench-encode: ## how long one row takes from the wire's bytes to its line
	$(CARGO) bench $(FLAGS) --bench encode

doc: ## the documentation of the library, in target/doc
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc $(FLAGS) --no-deps --document-private-items
