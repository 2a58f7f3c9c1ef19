{{/* Name of the ImCluster. */}}
{{- define "im-cluster.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- if gt (len $name) 40 -}}
{{- fail (printf "the name of an ImCluster has at most 40 characters, %q has %d: set name" $name (len $name)) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "im-cluster.version" -}}
{{- .Values.spec.version | default .Chart.AppVersion -}}
{{- end }}

{{/* Labels of everything that this chart makes. They differ from those of the operator's children, so that no selector of either meets both. */}}
{{- define "im-cluster.labels" -}}
app.kubernetes.io/name: im-cluster
app.kubernetes.io/instance: {{ include "im-cluster.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* Labels of the test pod, for NetworkPolicies. */}}
{{- define "im-cluster.test.selector" -}}
app.kubernetes.io/name: im-cluster-test
app.kubernetes.io/instance: {{ include "im-cluster.name" . }}
{{- end }}

{{/* The servers' image, chosen as the operator chooses it. */}}
{{- define "im-cluster.test.image" -}}
{{- $image := .Values.spec.image | default dict -}}
{{- $repository := $image.repository | default .Values.test.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ include "im-cluster.version" . }}
{{- end -}}
{{- end }}

{{/* Security of a container of the test pod. */}}
{{- define "im-cluster.test.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Resources of a container of the test pod. */}}
{{- define "im-cluster.test.resources" -}}
requests: {cpu: 10m, memory: 16Mi}
limits: {memory: 128Mi}
{{- end }}

{{/* Labels of the probe's pod that never change. They differ from those of the operator's children. */}}
{{- define "im-cluster.probe.selector" -}}
app.kubernetes.io/name: im-cluster-probe
app.kubernetes.io/instance: {{ include "im-cluster.name" . }}
{{- end }}

{{/* A file with this installation in it. Templates of Prometheus and Grafana are left as they are. */}}
{{- define "im-cluster.filled" -}}
{{- $name := include "im-cluster.name" .root -}}
{{- $uid := printf "%s/%s" .root.Release.Namespace $name | sha256sum | trunc 12 -}}
{{- .text | trim | replace "NAMESPACE" .root.Release.Namespace | replace "NAME" $name | replace "UID" $uid -}}
{{- end }}
