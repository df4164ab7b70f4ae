#!/usr/bin/env bash
# Runs the reference program of the class `calibrated` over a folder of labelled series, with a Python of its own.
#
# usage: run.sh agreement LABELLED   compares the class with it, over the stored cases and, where Python has what the program needs, over
#                                    all series of one channel; prints a line for each case and each source
#        run.sh ablation LABELLED    prints the tables of ablation.py, and keeps them in target/quality/ablation.md
set -euo pipefail

command="$1"
labelled="$(realpath "$2")"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../../.."
folder="${CARGO_TARGET_DIR:-$PWD/target}/quality"
python="$folder/venv/bin/python"
export NUMBA_CACHE_DIR="$folder/numba" PYTHONDONTWRITEBYTECODE=1
mkdir -p "$folder"
tools/python-environment.sh "$folder/venv" "$here/requirements.txt"

case "$command" in
agreement)
    if [ -x "$python" ]; then
        rm -rf "$folder/reference"
        for recipe in current original; do
            "$python" "$here/calibrated.py" labelled "$labelled" "$folder/reference/$recipe" $recipe
        done
        export CALIBRATED_DIR="$folder/reference/current" CALIBRATED_ORIGINAL_DIR="$folder/reference/original"
    else
        echo "the series of $labelled were left out" >&2
    fi
    cargo test --quiet --locked -p detect --test golden -- --nocapture --test-threads 1 | grep --only-matching 'calibrated.*'
    ;;
ablation)
    [ -x "$python" ] || { echo "the tables need Python with numpy, numba and pandas" >&2; exit 1; }
    "$python" "$here/ablation.py" "$labelled" | tee "$folder/ablation.md"
    ;;
*)
    echo "$command is neither agreement nor ablation" >&2
    exit 1
    ;;
esac
