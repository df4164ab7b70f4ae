#!/usr/bin/env bash
# `make run`: says what this machine lacks for a Kubernetes of its own, gets the tools, builds, and hands over to the
# program `run` of e2e/, with the time that each of these took. With CLUSTER=<kubeconfig context> that cluster is used.
set -euo pipefail
export LC_ALL=C

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/.."
tools="${TOOLS_DIR:-.tools}"

begin=$EPOCHREALTIME
since() { awk -v begin="$1" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.1f", now - begin }'; }
step() { printf '%6s s  %-15s  %s\n' "$(since "$begin")" "$1" "$2"; }
# What is there already is nothing to look at.
news() { awk '!/already there$|, from PATH$|^crates / { print "            " $0; fflush() }'; }

give_up() {
    echo "run: $1: name a cluster with CLUSTER=<kubeconfig context>, or use \`make run-standalone\`, which needs no Kubernetes." >&2
    exit 1
}

programs=()
if [ -n "${CLUSTER:-}" ]; then
    programs=(kubectl helm)
else
    [ "$(uname -s)" = Linux ] || give_up "this is no Linux, which a Kubernetes of our own needs"
    [ "$(id -u)" = 0 ] || give_up "this user is not root, which a Kubernetes of our own needs for its namespaces and mounts"
    refused="$(unshare --net --mount --pid --fork --mount-proc --propagation private true 2>&1)" ||
        give_up "this machine does not allow root new namespaces (${refused#unshare: })"
    if ! command -v go >/dev/null; then
        lacking=()
        for program in $(awk '!/^#/ && $6 == "always" { print $2 }' tools/go-programs.txt); do
            [ -x "$tools/bin/$program" ] || command -v "$program" >/dev/null || lacking+=("$program")
        done
        [ "${#lacking[@]}" -eq 0 ] || give_up "Go 1.26 (https://go.dev/dl) is missing, which builds ${lacking[*]}"
    fi
fi

command -v cargo >/dev/null || {
    echo "run: cargo is not on PATH: install Rust 1.95 (https://rustup.rs); with sudo, keep your PATH: sudo env PATH=\"\$PATH\" make run" >&2
    exit 1
}

begun=$EPOCHREALTIME
step tools "Kubernetes, VictoriaMetrics and what else has to be there"
if [ -z "${CLUSTER:-}" ]; then
    "$here/get.sh" | news
    "$here/get-node.sh" | news
elif [ -z "${REGISTRY:-}" ]; then
    "$here/get-node.sh" | news
fi
"$here/build-go.sh" "${programs[@]}" | news
parts=(--part "tools=$(since "$begun")")

begun=$EPOCHREALTIME
step build "the worker, the operator and what runs them, by cargo"
cargo build --workspace --bins --locked
parts+=(--part "build=$(since "$begun")")

exec "${CARGO_TARGET_DIR:-target}/debug/run" "${parts[@]}" "$@"
