#!/usr/bin/env bash
# Gets the Go programs that the tests run (Kubernetes, etcd, ...) into .tools/bin: one that is named by its variable, or
# that is in KUBEBUILDER_ASSETS or on PATH in a fitting version, is taken; what is left is built from the modules under
# e2e/tools. Run again, it only checks. Without arguments it gets what go-programs.txt says is always there; with
# names, those programs.
set -euo pipefail
export LC_ALL=C

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
programs="$here/go-programs.txt"
modules="$here/../e2e/tools"
folder="${TOOLS_DIR:-$here/../.tools}"
mkdir -p "$folder/bin" "$folder/go"
# The physical folder: .tools may be a link, and places on PATH are compared with it.
folder="$(cd "$folder" && pwd -P)"

# Flags, not the environment's GOFLAGS, decide: the same files give the same program everywhere.
flags=(-mod=readonly -buildvcs=false -trimpath)

say() { printf '%-26s %s\n' "$1" "$2"; }

# The version that a program prints, as 1.2.3; nothing when it does not run.
version_of() {
    local path="$1" output
    shift
    output="$("$path" "$@" 2>&1 </dev/null)" || return 0
    grep -oE '[0-9]+\.[0-9]+\.[0-9]+' <<<"$output" | head -n 1 || true
}

# The version of the module that has a package, as a go.mod pins it.
pinned_version() {
    awk -v package="$1" '
        $1 == "require" { $1 = ""; $0 = $0 }
        $2 ~ /^v[0-9]/ && index(package "/", $1 "/") == 1 && length($1) > length(module) { module = $1; version = $2 }
        END { print version }' "$2"
}

# What the programs' own builds link in: without it they call themselves v0.0.0, which clients take for very old.
linker_flags() {
    local package="$1" version="$2" variable
    printf '%s' "-s -w"
    case "$package" in
    k8s.io/kubernetes/*)
        variable=k8s.io/component-base/version
        IFS=. read -r major minor _ <<<"${version#v}"
        printf ' -X %s' "$variable.gitVersion=$version" "$variable.gitMajor=$major" "$variable.gitMinor=$minor"
        ;;
    helm.sh/helm/*) printf ' -X %s' "${package%/cmd/helm}/internal/version.version=$version" ;;
    github.com/argoproj/argo-cd/*) printf ' -X %s' "${package%/cmd}/common.version=${version#v}" ;;
    esac
}

# Everything that decides what a build brings.
digest() { { printf '%s\n' "$@" "${flags[@]}" && cat "$module/go.mod" "$module/go.sum"; } | sha256sum | cut -d ' ' -f 1; }

wanted=("$@")
for name in "${wanted[@]}"; do
    awk -v name="$name" '$2 == name { found = 1 } END { exit !found }' "$programs" ||
        { echo "$name is not in tools/go-programs.txt." >&2; exit 1; }
done

# 1. What is there already. What is not goes to `missing` as "variable|program|package|module folder|takes".
missing=()
broken=()
while read -r variable program package module takes when version_arguments; do
    if [ "${#wanted[@]}" -gt 0 ]; then
        [[ " ${wanted[*]} " == *" $program "* ]] || continue
    else
        [ "$when" = always ] || continue
    fi
    read -ra version_arguments <<<"$version_arguments"
    override="${!variable:-}"
    if [ -n "$override" ]; then
        version="$(version_of "$override" "${version_arguments[@]}")"
        if [ -n "$version" ]; then
            say "$program" "$override, version $version, named by \$$variable"
        else
            broken+=("\$$variable names $override, which does not run: set it to a working $program, or unset it.")
        fi
        continue
    fi

    found=""
    for place in "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$program}" "$(command -v "$program" || true)"; do
        # What this script made may itself be on PATH.
        [ -x "$place" ] && [[ "$(readlink -f "$place")" != "$folder"/* ]] || continue
        version="$(version_of "$place" "${version_arguments[@]}")"
        if [[ "$version" == "$takes"* ]]; then
            found="$place"
            break
        fi
        say "$program" "$place is version ${version:-unknown} and ${takes}x is needed: not taken"
    done
    module="$modules/$module"
    if [ -n "$found" ]; then
        ln -sfn "$(realpath -s "$found")" "$folder/bin/$program"
        say "$program" "$found, version $version"
        continue
    fi
    version="$(pinned_version "$package" "$module/go.mod")"
    if [ -x "$folder/go/$program" ] && [ "$(cat "$folder/go/$program.digest" 2>/dev/null)" = \
        "$(digest "$package" "$(linker_flags "$package" "$version")")" ]; then
        ln -sfn "../go/$program" "$folder/bin/$program"
        say "$program" ".tools/bin/$program, $version, already there"
    else
        missing+=("$variable|$program|$package|$module|$takes|$version")
    fi
done < <(grep -v '^#' "$programs")

if [ "${#broken[@]}" -gt 0 ]; then
    printf '%s\n' "${broken[@]}" >&2
    exit 1
fi
[ "${#missing[@]}" -gt 0 ] || exit 0

# One sentence for each program that is still missing, then the end.
give_up() {
    local entry variable program takes
    echo "$1" >&2
    for entry in "${missing[@]}"; do
        IFS='|' read -r variable program _ _ takes _ <<<"$entry"
        echo "$program is missing: have its version ${takes}x on PATH, or set $variable=/path/to/$program." >&2
    done
    exit 1
}

needed="$(sed -n 's/^go //p' "$modules"/go.mod "$modules"/*/go.mod | sort -V | tail -n 1)"
command -v go >/dev/null ||
    give_up "Go is missing: install Go $needed or newer (https://go.dev/dl), which builds these programs, and run this again."
# Asked inside a module, an older Go gets the one that the module needs, or says that it cannot.
if ! problem="$(cd "$modules" && go env GOVERSION 2>&1)"; then
    give_up "Go $needed or newer is needed (https://go.dev/dl), and this one is older: $problem"
fi

# 2. One at a time, because a link takes up to 2 GB of memory.
say "Go programs" "${#missing[@]} to build; the first time takes some ten minutes and 10 GB in Go's own caches"
for entry in "${missing[@]}"; do
    IFS='|' read -r variable program package module takes version <<<"$entry"
    linked="$(linker_flags "$package" "$version")"
    say "$program" "building $version"
    begin=$SECONDS
    if ! (cd "$module" && env -u GOOS -u GOARCH GOWORK=off CGO_ENABLED=0 \
        go build "${flags[@]}" -ldflags "$linked" -o "$folder/go/$program.new" "$package") >"$folder/go/$program.log" 2>&1; then
        tail -n 20 "$folder/go/$program.log" >&2
        give_up "go could not build $program; all it said is in $folder/go/$program.log."
    fi
    mv "$folder/go/$program.new" "$folder/go/$program"
    digest "$package" "$linked" >"$folder/go/$program.digest"
    ln -sfn "../go/$program" "$folder/bin/$program"
    say "$program" ".tools/bin/$program, $version, built in $((SECONDS - begin)) s, $(du -h "$folder/go/$program" | cut -f 1)"
    missing=("${missing[@]:1}")
done
