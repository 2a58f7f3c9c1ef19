{{/* Name of all objects, at most 55 characters: `-metrics` follows it in one of them. */}}
{{- define "im-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "im-operator" .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-im-operator" .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels that never change. */}}
{{- define "im-operator.selector" -}}
app.kubernetes.io/name: im-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "im-operator.labels" -}}
{{ include "im-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: imcluster
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "im-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "im-operator.fullname" .) -}}
{{- end }}

{{- define "im-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Watched namespaces as a JSON list; empty when all are watched. */}}
{{- define "im-operator.namespaces" -}}
{{- if .Values.watch.allNamespaces -}}
[]
{{- else -}}
{{- .Values.watch.namespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}
{{- end }}

{{/* The one subject of every binding. */}}
{{- define "im-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "im-operator.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
