#!/bin/sh
# Makes the virtual environment of the Python peers in the folder that is named, from PyPI, once for each requirements.txt.
# Without Python or without PyPI it says so and succeeds: the bench goes on without them.
set -eu

venv=$1
wanted=$(dirname "$0")/requirements.txt
cmp -s "$wanted" "$venv/requirements.txt" && exit 0
give_up() {
    rm -rf "$venv"
    echo "no Python peers: $1; only our own figures" >&2
    exit 0
}
command -v python3 >/dev/null || give_up "there is no python3"
rm -rf "$venv"
python3 -m venv "$venv" || give_up "python3 has no venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" || give_up "PyPI did not give them"
cp "$wanted" "$venv/requirements.txt"
