#!/bin/sh
# Makes a virtual environment in the folder that is named, with what a requirements.txt lists from PyPI, once for each such list.
# Without Python or without PyPI it says so and succeeds: who asks for it goes on without.
#
# usage: python-environment.sh VENV REQUIREMENTS
set -eu

venv=$1
wanted=$2
cmp -s "$wanted" "$venv/requirements.txt" && exit 0
give_up() {
    rm -rf "$venv"
    echo "no Python for $wanted: $1" >&2
    exit 0
}
command -v python3 >/dev/null || give_up "there is no python3"
rm -rf "$venv"
python3 -m venv "$venv" || give_up "python3 has no venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" || give_up "PyPI did not give it"
cp "$wanted" "$venv/requirements.txt"
