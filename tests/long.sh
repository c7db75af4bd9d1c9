#!/usr/bin/env bash
# The long tests, one step after another: every ignored test of tests/it, then a minute of each fuzz target.
#
# A step that passed is noted in target/test-long/done and not run again, so that a run that was stopped goes on where
# it was. The note holds for the tree as it stands, and until all have passed; FRESH=1 begins anew as well. The output of
# all steps is in target/test-long/log. Ends with the steps that failed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
folder=target/test-long
mkdir -p "$folder"

# The commit, what differs from it, and what is not yet in it. Fails where there is no git.
tree() {
    git rev-parse HEAD || return
    {
        git diff --binary HEAD
        git ls-files -z --others --exclude-standard | xargs -0r sha256sum --
    } | sha256sum
}

# The first line of the note.
key="of $(tree 2>/dev/null | xargs)" || key=
if [ -n "${FRESH:-}" ] || [ -z "$key" ] || [ "$(head -n 1 "$folder/done" 2>/dev/null)" != "$key" ]; then
    rm -f "$folder/log"
    echo "$key" >"$folder/done"
fi
failed=()

# step NAME COMMAND...
step() {
    local name=$1 start=$SECONDS
    shift
    if grep -qxF "$name" "$folder/done"; then
        echo "done before   $name"
        return
    fi
    echo "== $name" >>"$folder/log"
    if "$@" >>"$folder/log" 2>&1 </dev/null; then
        echo "$name" >>"$folder/done"
        echo "passed $((SECONDS - start))s   $name"
    else
        failed+=("$name")
        echo "FAILED $((SECONDS - start))s   $name (in $folder/log)"
    fi
}

# fuzz TARGET: a minute, from the coverage that the compiler of every day can give. It begins with valid input: messages of
# every kind in fuzz/seeds, and our own configuration files.
fuzz() {
    local seeds=fuzz/seeds/$1
    [ "$1" != config ] || seeds=config
    mkdir -p "fuzz/corpus/$1"
    RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions' \
        "$cargo" run --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --bin "$1" -- \
        -max_total_time=60 -rss_limit_mb=2048 -artifact_prefix="$folder/" "fuzz/corpus/$1" "$seeds"
}

"$cargo" test --features faults --test it --no-run
tests=$("$cargo" test -q --features faults --test it -- --ignored --list </dev/null | sed -n 's/: test$//p')
for name in $tests; do
    step "$name" "$cargo" test -q --features faults --test it -- --ignored --exact --nocapture "$name"
done
for target in fuzz/fuzz_targets/*.rs; do
    [ -e "$target" ] || continue
    target=$(basename "$target" .rs)
    step "fuzz $target" fuzz "$target"
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "test-long: ${#failed[@]} failed: ${failed[*]}"
    exit 1
fi
echo "test-long: all $(($(wc -l <"$folder/done") - 1)) steps passed"
rm "$folder/done"
