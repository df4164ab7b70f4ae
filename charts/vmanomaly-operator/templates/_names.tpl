{{- define "vmanomaly-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 57 characters leave room for the suffixes of names. */}}
{{- define "vmanomaly-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 57 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vmanomaly-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vmanomaly-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vmanomaly-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vmanomaly-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vmanomaly-operator.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "vmanomaly-operator.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "vmanomaly"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- /* Registry, repository, tag and digest of a dict as one reference. */}}
{{- define "vmanomaly-operator.reference" -}}
{{- with .registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "vmanomaly-operator.image" -}}
{{- include "vmanomaly-operator.reference" (dict
  "registry" .Values.image.registry
  "repository" .Values.image.repository
  "digest" .Values.image.digest
  "tag" (default .Chart.AppVersion .Values.image.tag)) }}
{{- end }}

{{- define "vmanomaly-operator.workerImage" -}}
{{- include "vmanomaly-operator.reference" (dict
  "registry" (default .Values.image.registry .Values.workerImage.registry)
  "repository" .Values.workerImage.repository
  "digest" .Values.workerImage.digest
  "tag" (coalesce .Values.workerImage.tag .Values.image.tag .Chart.AppVersion)) }}
{{- end }}
