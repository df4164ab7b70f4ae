#!/usr/bin/env bash
# Asks the real argocd for the health of every object in fixtures/, and compares it with what the object's first line
# says.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

argocd=${ARGOCD:-$folder/../../.tools/bin/argocd}
[[ -x $argocd ]] || argocd=$(command -v argocd) || { echo "argocd is neither in .tools/bin nor on PATH: run \`make tools-argocd\`, or set ARGOCD=/path/to/argocd" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

checked=0
wrong=0
for object in "$folder"/fixtures/*.yaml; do
    wanted=$(sed -n '1s/^# Argo CD says: //p' "$object")
    answer=$("$argocd" admin settings resource-overrides health "$object" --argocd-cm-path "$folder/argocd-cm.yaml" 2>"$log") || {
        echo "argocd fails on $object:" >&2
        cat "$log" >&2
        exit 1
    }
    status=$(sed -n 's/^STATUS: //p' <<<"$answer")
    if [[ -z $wanted || $status != "$wanted" ]]; then
        echo "$(basename "$object"): argocd says ${status:-nothing}, wanted ${wanted:-(the first line does not say)}" >&2
        wrong=$((wrong + 1))
    fi
    checked=$((checked + 1))
done
((wrong == 0 && checked > 0)) || { echo "$wrong of $checked objects are judged wrong" >&2; exit 1; }
echo "argocd judges all $checked objects as their first lines say"
