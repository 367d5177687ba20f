{{- define "warren-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "warren-gateway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "warren-gateway.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "warren-gateway.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "warren-gateway.selector" -}}
app.kubernetes.io/name: {{ include "warren-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pod of `helm test`, which asks for metrics as monitoring does. */}}
{{- define "warren-gateway.test" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "warren-gateway.name" . | trunc 58 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "warren-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "warren-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: warren
{{- end }}

{{- define "warren-gateway.serviceAccount" -}}
{{- ternary (include "warren-gateway.fullname" .) "default" .Values.serviceAccount.create }}
{{- end }}

{{- define "warren-gateway.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "warren-gateway.claim" -}}
{{- default (include "warren-gateway.fullname" .) .Values.persistence.existingClaim }}
{{- end }}

{{- define "warren-gateway.metrics" -}}
{{ include "warren-gateway.fullname" . | trunc 55 | trimSuffix "-" }}-metrics
{{- end }}

{{/* Not empty when there is, or may come to be, more than one. */}}
{{- define "warren-gateway.several" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}yes{{ end }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a container, and a file system that is read-only. */}}
{{- define "warren-gateway.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "warren-gateway.confinedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Whether there is a file for the export of traces. */}}
{{- define "warren-gateway.otlpSecrets" -}}
{{- with .Values.otlp }}{{- if and .url (or (.caSecret).name (.headersSecret).name) }}yes{{- end }}{{- end }}
{{- end }}

{{/* Rules between values, in words; types and forms stand in values.schema.json. */}}
{{- define "warren-gateway.check" -}}
{{- if not .Values.publicUrl }}
{{- fail "publicUrl is needed: where agents and people reach the gateway, such as https://gateway.example.com" }}
{{- end }}
{{- if eq .Values.store.type "sqlite" }}
{{- if gt (int .Values.replicas) 1 }}
{{- fail "replicas can be 0 or 1 with store.type sqlite, whose file one gateway has for itself: several share a PostgreSQL database (store.type=postgres)" }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- fail "autoscaling needs store.type postgres: with sqlite there is one gateway" }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- if include "warren-gateway.several" . }}
{{- $least := ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int }}
{{- if and .Values.podDisruptionBudget.enabled (gt $least 1) (ge (int .Values.podDisruptionBudget.maxUnavailable) $least) }}
{{- fail (printf "podDisruptionBudget.maxUnavailable: all %d replicas may be taken away at once" $least) }}
{{- end }}
{{- end }}
{{- if eq .Values.store.type "postgres" }}
{{- if not .Values.store.postgres.url }}
{{- fail "store.postgres.url is needed, such as postgres://warren@db.example.com/warren" }}
{{- end }}
{{- if not .Values.operatorKey.secret }}
{{- fail "operatorKey.secret is needed with store.type postgres: kubectl create secret generic warren-operator-key --from-literal operator-key=\"$(openssl rand -base64 32)\", and keep a copy elsewhere" }}
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
{{- if gt (int .Values.callers.firstPort) (int .Values.callers.lastPort) }}
{{- fail "callers.firstPort is above callers.lastPort" }}
{{- end }}
{{- $callers := .Values.callers }}
{{- range $port, $use := dict "8443" "agents" "9100" "metrics" }}
{{- if and (le (int $callers.firstPort) (int $port)) (ge (int $callers.lastPort) (int $port)) }}
{{- fail (printf "callers.firstPort to callers.lastPort hold %s, where the gateway serves %s" $port $use) }}
{{- end }}
{{- range $callers.services }}
{{- if eq (int .targetPort) (int $port) }}
{{- fail (printf "callers.services: the targetPort of %s is %s, where the gateway serves %s" .name $port $use) }}
{{- end }}
{{- end }}
{{- end }}
{{- $names := list (include "warren-gateway.fullname" .) (include "warren-gateway.metrics" .) }}
{{- range $callers.services }}
{{- if has .name $names }}
{{- fail (printf "callers.services: there is a service %s already, name this one otherwise" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
