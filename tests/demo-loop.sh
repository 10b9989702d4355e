#!/usr/bin/env bash
# Plays the demo N times without anybody watching and says how many repeats a kill caused at most.
#
# usage: tests/demo-loop.sh [N]     default 30; the first failing run stops the loop and its seed repeats it
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-30}
target=${CARGO_TARGET_DIR:-target}
results=$(mktemp)
trap 'rm -f "$results"' EXIT

cargo build --quiet --workspace --bins
for run in $(seq "$runs"); do
    if ! "$target/debug/bugle-demo" --json >>"$results"; then
        echo "run $run of $runs FAILED:"
        tail -n 2 "$results"
        exit 1
    fi
    printf 'run %3d of %d: %s\n' "$run" "$runs" "$(tail -n 1 "$results")"
done

most() { grep -o "\"$1\":[0-9]*" "$results" | cut -d: -f2 | sort -n | tail -n 1; }
echo "all $runs runs passed; repeats at one kill: at most $(most repeats_at_kill_max); slowest run: $(most seconds) s"
