#!/usr/bin/env bash
# Gets what a one-node Kubernetes needs beside its Go programs (container runtime, network plugins, iptables), and the
# base layer of images built without Docker, from Debian packages of the machine's own suite: into .tools/node/ and
# .tools/layer/, without root and without touching the system. The packages are in node-packages.txt. Run again, it
# only checks.
set -euo pipefail
export LC_ALL=C

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
list="$here/node-packages.txt"
folder="${TOOLS_DIR:-$here/../.tools}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"

say() { printf '%-26s %s\n' "$1" "$2"; }

# What is not there goes to `missing` as "folder package". `.packages` in a folder lists what was unpacked into it.
missing=()
while read -r target package program; do
    if [ "$program" != - ] && path="$(PATH="$PATH:/usr/sbin:/sbin" command -v "$program")"; then
        [ "$package" != "$(basename "$program")" ] || say "$package" "$path, from PATH"
    elif ! grep -q "^${package}_" "$folder/$target/.packages" 2>/dev/null; then
        missing+=("$target $package")
    fi
done < <(grep -v '^#' "$list")
if [ "${#missing[@]}" -eq 0 ]; then
    say "node packages" ".tools/node and .tools/layer, already there"
    exit 0
fi

# One sentence, then the end.
give_up() {
    echo "$1" >&2
    echo "Missing for the one-node Kubernetes and for images without Docker: ${missing[*]##* }. Install them, or name a cluster with CLUSTER=<kubeconfig context>." >&2
    exit 1
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    give_up "This system has no apt-get and dpkg-deb, so nothing can be unpacked here."

state="$folder/apt-node"
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/download"
touch "$state/status"
apt=(
    -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
    -o "Acquire::Languages=none" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    -o "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false" -o "Acquire::Retries=3" -o "APT::Sandbox::User=root"
)
say "package lists" "this machine's own apt sources"
# A third source that does not answer is no reason to give up: a package that is then missing is.
apt-get "${apt[@]}" -qq update >"$state/update.log" 2>&1 || true

for entry in "${missing[@]}"; do
    read -r target package <<<"$entry"
    rm -f "$state/download"/*.deb
    (cd "$state/download" && apt-get "${apt[@]}" -qq download "$package") >"$state/download.log" 2>&1 ||
        give_up "apt could not download $package: $(cat "$state/update.log" "$state/download.log" | grep -m1 '^[EW]:' || tail -n1 "$state/download.log")"
    archive="$(echo "$state/download"/*.deb)"
    say "$package" "unpacking $(basename "$archive"), $(du -h "$archive" | cut -f1), into .tools/$target"
    mkdir -p "$folder/$target"
    dpkg-deb -x "$archive" "$folder/$target" || give_up "dpkg-deb could not unpack $package."
    basename "$archive" .deb >>"$folder/$target/.packages"
done
rm -rf "$state"
