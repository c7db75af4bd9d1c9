# What is done often. `make help` lists it; .ci/run is what has to pass.

CARGO ?= cargo
JOBS  ?=
FLAGS  = $(if $(JOBS),-j$(JOBS))
FOR   ?=
FRESH ?=

# Where `make install` puts things: below PREFIX, and for a package below DESTDIR first.
PREFIX  ?= /usr/local
DESTDIR ?=
# Root, who installs, may well have no Rust.
TARGET  ?= $(or $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p'),$(shell uname -m)-unknown-linux-gnu)
BINARY  ?= target/$(TARGET)/release/slotd
ETC      = $(DESTDIR)/etc/slotd
USR      = $(DESTDIR)$(PREFIX)
UNIT     = $(USR)/lib/systemd/system/slotd.service
BASH     = $(USR)/share/bash-completion/completions
ZSH      = $(USR)/share/zsh/site-functions
FISH     = $(USR)/share/fish/vendor_completions.d

# Of `make bench`: the folder has to be on a disk, and the servers' user has to be able to look into it.
BENCH_DIR  ?= $(CURDIR)/target/bench
COMPARE     = --manifest-path benches/compare/Cargo.toml --target-dir target/compare
SCALE      ?=
ROUNDS     ?=
ONLY       ?=
CONTENDERS ?=
BASELINE   ?=

.PHONY: help demo release fresh install uninstall test test-long lint fmt bench bench-encode doc servers tools
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

demo: ## a throw-away Postgres, a shop at work in it, and its changes as slotd streams them (FOR=20: ends after 20 s)
	@tests/servers.sh 18
	@$(CARGO) build -q $(FLAGS) --bin slotd --example demo
	@exec $(CARGO) run -q $(FLAGS) --example demo -- $(FOR)

# The flags count for slotd and its crates alone, since there is a --target: what runs while building stays dynamic, and
# builds without the flags are not touched.
release: ## one static binary, in target/TARGET/release
	RUSTFLAGS="$$RUSTFLAGS -C target-feature=+crt-static" $(CARGO) build $(FLAGS) --release --bin slotd --target $(TARGET)
	@! ldd $(BINARY) | grep '=>' || { echo 'release: $(BINARY) needs these libraries, and should need none' >&2; exit 1; }

# A pipe fails with its first command.
install: SHELL = /bin/bash
install: .SHELLFLAGS = -o pipefail -ec
install: ## the release, unit, user, man page, completions and an example /etc/slotd/slotd.toml (PREFIX=/usr/local, DESTDIR=); overwrites no slotd.toml
	@test '$(origin BINARY)' != file || $(MAKE) --no-print-directory fresh
	install -d $(USR)/bin $(dir $(UNIT)) $(USR)/lib/sysusers.d $(USR)/share/man/man1 $(USR)/share/doc/slotd $(BASH) $(ZSH) $(FISH)
	install -m 0755 $(BINARY) $(USR)/bin/slotd
	sed 's|=/usr/bin/|=$(PREFIX)/bin/|' systemd/slotd.service | install -m 0644 /dev/stdin $(UNIT)
	install -m 0644 systemd/slotd.sysusers $(USR)/lib/sysusers.d/slotd.conf
	install -m 0644 docs/slotd.1 $(USR)/share/man/man1/slotd.1
	install -m 0644 config/slotd.toml $(USR)/share/doc/slotd/slotd.toml
	$(BINARY) completions bash | install -m 0644 /dev/stdin $(BASH)/slotd
	$(BINARY) completions zsh | install -m 0644 /dev/stdin $(ZSH)/_slotd
	$(BINARY) completions fish | install -m 0644 /dev/stdin $(FISH)/slotd.fish
	install -d -m 0750 $(ETC)
	test -e $(ETC)/slotd.toml || install -m 0640 config/slotd.toml $(ETC)/slotd.toml
ifeq ($(DESTDIR),)
	systemd-sysusers $(USR)/lib/sysusers.d/slotd.conf
	chgrp slotd $(ETC) $(ETC)/slotd.toml
	test ! -d /run/systemd/system || systemctl daemon-reload
	@echo 'Next: put your databases into /etc/slotd/slotd.toml, see what `slotd check` says, then systemctl enable --now slotd'
else
	@echo 'For the package: run systemd-sysusers where it is installed, then chgrp slotd /etc/slotd /etc/slotd/slotd.toml'
endif

# The release of these very sources.
fresh:
	@if command -v $(CARGO) >/dev/null; then $(MAKE) --no-print-directory release; \
	elif ! test -x $(BINARY); then \
		echo 'install: there is neither $(BINARY) nor $(CARGO): run make release as the user who has it' >&2; exit 1; \
	elif newer=$$(find Cargo.toml Cargo.lock src -newer $(BINARY) | head -n 1) && test -n "$$newer"; then \
		echo "install: $(BINARY) is older than $$newer: run make release as the user who has $(CARGO)" >&2; exit 1; fi

uninstall: ## takes away what install has put there; state, configuration and user stay
ifeq ($(DESTDIR),)
	test ! -d /run/systemd/system || test ! -e $(UNIT) || systemctl disable --now slotd
endif
	rm -f $(USR)/bin/slotd $(UNIT) $(USR)/lib/sysusers.d/slotd.conf $(USR)/share/man/man1/slotd.1 \
		$(USR)/share/doc/slotd/slotd.toml $(BASH)/slotd $(ZSH)/_slotd $(FISH)/slotd.fish
	test ! -d $(USR)/share/doc/slotd || rmdir --ignore-fail-on-non-empty $(USR)/share/doc/slotd
ifeq ($(DESTDIR),)
	test ! -d /run/systemd/system || systemctl daemon-reload
endif
	@echo 'Left: /etc/slotd, /var/lib/slotd with the changes, and the user slotd.'
	@echo 'The slots on the servers are left too and keep WAL. To give one up: SELECT pg_drop_replication_slot(name)'

servers: ## Postgres 15 to 18, in .servers or $SLOTD_SERVERS
	@tests/servers.sh

tools: ## the other programs that tests run: strace, systemd-analyze, PgBouncer
	@tests/servers.sh --tools

# Most of what they do is to wait for servers, so there are more of them at once than cores.
test: servers tools ## every test but the long ones, against Postgres 15 to 18
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) * 2))} \
		$(CARGO) test $(FLAGS) --features faults --lib --test it </dev/null

test-long: servers tools ## the long tests and the fuzz targets, step by step; goes on where it stopped in this tree (FRESH=1: anew)
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
