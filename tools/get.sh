#!/usr/bin/env bash
# Gets the real components that the tests and `make run-standalone` run, into .tools/, without root and without
# touching the system: a program that is named by its variable or is on PATH is taken; what is left is unpacked from
# Debian packages. Run again, it only checks. The programs and their pinned versions are in programs.txt.
set -euo pipefail
export LC_ALL=C

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
programs="$here/programs.txt"
folder="${TOOLS_DIR:-$here/../.tools}"
mkdir -p "$folder/bin" "$folder/packages"
folder="$(cd "$folder" && pwd)"

say() { printf '%-26s %s\n' "$1" "$2"; }
runs() { "$1" "$2" >/dev/null 2>&1 </dev/null; }

# The package version of a file that a Debian package owns; nothing for any other file.
packaged_version() {
    local owner
    command -v dpkg-query >/dev/null || return 0
    owner="$(dpkg-query --search "$(readlink -f "$1")" 2>/dev/null | cut -d: -f1)" || return 0
    dpkg-query --show --showformat '${Version}' "$owner" 2>/dev/null || true
}

# 1. What is there already. What is not goes to `missing` as "variable|program|package|version|least|names".
missing=()
broken=()
while read -r variable names version_argument package version least; do
    program="${names%%,*}"
    override="${!variable:-}"
    if [ -n "$override" ]; then
        if runs "$override" "$version_argument"; then
            say "$program" "$override, named by \$$variable"
        else
            broken+=("\$$variable names $override, which does not run: set it to a working $program, or unset it.")
        fi
        continue
    fi

    found=""
    IFS=, read -ra alternatives <<<"$names"
    for name in "${alternatives[@]}"; do
        path="$(command -v "$name" || true)"
        [ -n "$path" ] || continue
        owned="$(packaged_version "$path")"
        if [ -n "$owned" ] && dpkg --compare-versions "$owned" lt "$least"; then
            say "$program" "$path is version $owned and at least $least is needed: not taken"
        elif runs "$path" "$version_argument"; then
            found="$path"
            break
        else
            say "$program" "$path does not run: not taken"
        fi
    done
    if [ -n "$found" ]; then
        rm -f "$folder/bin/$program"
        say "$program" "$found, from PATH"
    elif [ "$(readlink "$folder/bin/$program" 2>/dev/null)" = "../packages/${package}_$version/usr/bin/$program" ] &&
        runs "$folder/bin/$program" "$version_argument"; then
        say "$program" ".tools/bin/$program, already there"
    else
        missing+=("$variable|$program|$package|$version|$least|$names")
    fi
done < <(grep -v '^#' "$programs")

if [ "${#broken[@]}" -gt 0 ]; then
    printf '%s\n' "${broken[@]}" >&2
    exit 1
fi
[ "${#missing[@]}" -gt 0 ] || exit 0

# One sentence for each program that is still missing, then the end.
give_up() {
    local entry variable program package version least names
    echo "$1" >&2
    for entry in "${missing[@]}"; do
        IFS='|' read -r variable program package version least names <<<"$entry"
        echo "$program is missing: install version $least or newer, so that PATH has ${names//,/ or }, or set $variable=/path/to/$program." >&2
    done
    exit 1
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    give_up "This system has no apt-get and dpkg-deb, so nothing can be unpacked here."

# 2. The machine's own Debian mirrors, as apt itself would ask them, asked for the suite that has the packages.
suite="$(sed -n 's/^# suite //p' "$programs")"
codename="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)"
state="$folder/apt"
mkdir -p "$state/empty/partial" "$state/lists/partial" "$state/cache/archives/partial"
apt=(
    -o "Dir::State=$state" -o "Dir::Cache=$state/cache"
    -o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=/nonexistent"
    -o "Acquire::Languages=none" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    -o "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false" -o "Acquire::Retries=3" -o "APT::Sandbox::User=root"
)
mirrors="$(apt-get -o "Dir::State=$state" -o "Dir::State::lists=$state/empty" update --print-uris 2>/dev/null |
    sed -n "s|^'\(.*\)/dists/$codename/InRelease'.*|\1|p" | sort -u)"
[ -n "$mirrors" ] || give_up "apt has no source for the suite '$codename' of this machine, whose mirror could be asked."
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=""
[ ! -r "$keyring" ] || signed="[signed-by=$keyring] "

mirror=""
for candidate in $mirrors; do
    echo "deb $signed$candidate $suite main" >"$state/sources.list"
    say "package lists" "suite $suite from $candidate"
    if apt-get "${apt[@]}" -qq --error-on=any update >"$state/update.log" 2>&1; then
        mirror="$candidate"
        break
    fi
    say "package lists" "not there: $(grep -m1 '^[EW]:' "$state/update.log" || tail -n1 "$state/update.log")"
done
[ -n "$mirror" ] || give_up "No mirror of this machine's apt sources has Debian's suite $suite."

# 3. Download and unpack each package once, link the programs, and see that each one runs.
for entry in "${missing[@]}"; do
    IFS='|' read -r variable program package version least names <<<"$entry"
    unpacked="$folder/packages/${package}_$version"
    if [ ! -x "$unpacked/usr/bin/$program" ]; then
        rm -rf "$unpacked" "$state/download"
        mkdir -p "$state/download" "$unpacked"
        if ! (cd "$state/download" && apt-get "${apt[@]}" -qq download "$package=$version") >"$state/download.log" 2>&1; then
            # A stable suite replaces a package only by a fixed one.
            say "$package" "$version is not in $suite any more, taking the suite's own version"
            (cd "$state/download" && apt-get "${apt[@]}" -qq download "$package") >"$state/download.log" 2>&1 ||
                give_up "apt could not download $package: $(tail -n1 "$state/download.log")"
        fi
        archive="$(echo "$state/download"/*.deb)"
        say "$package" "unpacking $(basename "$archive"), $(du -h "$archive" | cut -f1)"
        dpkg-deb -x "$archive" "$unpacked" || give_up "dpkg-deb could not unpack $package."
        rm -rf "$state/download"
    fi
    ln -sfn "../packages/${package}_$version/usr/bin/$program" "$folder/bin/$program"
    version_argument="$(awk -v variable="$variable" '$1 == variable { print $3 }' "$programs")"
    if ! runs "$folder/bin/$program" "$version_argument"; then
        libraries="$(ldd "$folder/bin/$program" 2>&1 | sed -n 's/^\s*\(.*\) => not found$/\1/p' | paste -sd ' ')"
        give_up "$program was unpacked but does not run on this system${libraries:+: it needs $libraries}."
    fi
    say "$program" ".tools/bin/$program"
done
rm -rf "$state/lists"
