#!/usr/bin/env bash
# Writes the generated part of deploy/ (or of the folder that is the first argument): the operator and its CRDs from the
# chart, the demonstration's alert rules from alerts/, Argo CD's settings from argocd/health.lua.
# REGISTRY and TAG (of the images) and NAMESPACE (of the operator) change what the chart is told.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-$repository/deploy}
chart=$repository/charts/vmanomaly-operator
namespace=${NAMESPACE:-vmanomaly-system}

helm=${HELM:-$repository/.tools/bin/helm}
[[ -x $helm ]] || helm=$(command -v helm) || { echo "helm is neither in .tools/bin nor on PATH: run \`make tools\`, or set HELM=/path/to/helm" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$out/quickstart/demo" "$out/argocd"

generated() { echo "# Generated from $1 by \`make manifests\`."; }
indented() { sed "s/^\(.\)/    \1/" "$1"; }

{
    generated crds/yaml
    for definition in "$repository"/crds/yaml/*.yaml; do
        echo ---
        cat "$definition"
    done
} >"$folder/crds.yaml"

{
    generated charts/vmanomaly-operator
    cat <<YAML
---
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    pod-security.kubernetes.io/enforce: restricted
YAML
    # What Helm says about itself has no meaning without it.
    "$helm" template vmanomaly-operator "$chart" --namespace "$namespace" --set crds.install=false \
        --set-string "image.registry=${REGISTRY:-},image.tag=${TAG:-}" |
        sed -e '/^# Source: /d' -e '/^ *app.kubernetes.io\/managed-by: /d' -e '/^ *helm.sh\/chart: /d' -e '/^$/d'
} >"$folder/operator.yaml"

{
    generated deploy/alerts
    cat <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: alert-rules
  namespace: vmanomaly-demo
data:
YAML
    for rules in "$repository"/deploy/alerts/*.yml; do
        echo "  $(basename "$rules"): |"
        indented "$rules"
    done
} >"$folder/alert-rules.yaml"

{
    generated deploy/argocd/health.lua
    cat <<YAML
# Only these keys are ours: apply it with --server-side, and what else is in the ConfigMap stays.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
YAML
    for kind in VMAnomaly AnomalyModel AnomalyQuery; do
        echo "  resource.customizations.health.vmanomaly.dev_$kind: |"
        indented "$repository/deploy/argocd/health.lua"
    done
} >"$folder/argocd-cm.yaml"

# Only when all of it could be made.
mv "$folder/crds.yaml" "$folder/operator.yaml" "$out/"
mv "$folder/alert-rules.yaml" "$out/quickstart/demo/"
mv "$folder/argocd-cm.yaml" "$out/argocd/"
