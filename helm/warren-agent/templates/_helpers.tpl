{{- define "warren-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A pod of a StatefulSet has a label of the set's name, a dash and a hash of ten characters, and 63 are the most. */}}
{{- define "warren-agent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "warren-agent.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "warren-agent.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "warren-agent.selector" -}}
app.kubernetes.io/name: {{ include "warren-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pod of `helm test`, which asks for metrics as monitoring does. */}}
{{- define "warren-agent.test" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "warren-agent.name" . | trunc 58 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "warren-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "warren-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: warren
{{- end }}

{{- define "warren-agent.serviceAccount" -}}
{{- ternary (include "warren-agent.fullname" .) "default" .Values.serviceAccount.create }}
{{- end }}

{{- define "warren-agent.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "warren-agent.peers" -}}
{{ include "warren-agent.fullname" . }}-peers
{{- end }}

{{- define "warren-agent.tokenSecret" -}}
{{- default (printf "%s-token" (include "warren-agent.fullname" .)) .Values.token.secret }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a container, and a file system that is read-only. */}}
{{- define "warren-agent.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "warren-agent.confinedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Whether there is a file for the export of traces. */}}
{{- define "warren-agent.otlpSecrets" -}}
{{- with .Values.otlp }}{{- if and .url (or (.caSecret).name (.headersSecret).name) }}yes{{- end }}{{- end }}
{{- end }}

{{/* Rules between values, in words; types and forms stand in values.schema.json. */}}
{{- define "warren-agent.check" -}}
{{- if not .Values.gateways }}
{{- fail "gateways is needed: where the gateway is, such as [https://gateway.example.com]" }}
{{- end }}
{{- if and .Values.token.value .Values.token.secret }}
{{- fail "token.value and token.secret are both given: one of them" }}
{{- end }}
{{- with .Values.ca }}
{{- if gt (len (compact (list .pem .configMap .secret))) 1 }}
{{- fail "of ca.pem, ca.configMap and ca.secret, only one can be given" }}
{{- end }}
{{- end }}
{{- with .Values.otlp }}
{{- if and (or (.caSecret).name (.headersSecret).name) (not .url) }}
{{- fail "otlp.caSecret and otlp.headersSecret need otlp.url: the collector that they are for" }}
{{- end }}
{{- if and (.caSecret).name (not (hasPrefix "https://" .url)) }}
{{- fail "otlp.caSecret needs an otlp.url with https://" }}
{{- end }}
{{- if ne (empty (.headersSecret).name) (empty (.headersSecret).keys) }}
{{- fail "otlp.headersSecret needs a name and keys: which headers there are, and which key of the Secret holds the value of each" }}
{{- end }}
{{- end }}
{{- if and (gt (int .Values.replicas) 2) (gt (int .Values.podDisruptionBudget.maxUnavailable) (div (sub (min (int .Values.replicas) 5) 1) 2 | int)) .Values.podDisruptionBudget.enabled }}
{{- fail (printf "podDisruptionBudget.maxUnavailable: %d of %d replicas may be taken away at once, and the group loses its majority" (int .Values.podDisruptionBudget.maxUnavailable) (int .Values.replicas)) }}
{{- end }}
{{- end }}
