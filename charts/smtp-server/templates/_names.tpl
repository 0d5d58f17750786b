{{/* Names and labels. Quoted wherever they stand alone: a release may be called `on`, or 2026, and is a text all the same. */}}

{{/* The chart's name, or what is given in its place: the label `app`. */}}
{{- define "smtp-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Name of the release's objects. Suffixes (`-submission`, `-headless`) and a pod's ordinal have to fit behind it into 63 characters. */}}
{{- define "smtp-server.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "smtp-server.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What selects the server's pods, of this release only. Immutable in a cluster: nothing may be added or taken away. */}}
{{- define "smtp-server.selector" -}}
app: {{ include "smtp-server.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "smtp-server.labels" -}}
{{ include "smtp-server.selector" . }}
{{ include "smtp-server.labels.common" . }}
{{- end }}

{{/* Those that do not select. */}}
{{- define "smtp-server.labels.common" -}}
app.kubernetes.io/name: smtp-server
app.kubernetes.io/part-of: mail
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of pods: none that changes with the chart's version, for that would replace pods that need not be. */}}
{{- define "smtp-server.podLabels" -}}
{{ include "smtp-server.selector" . }}
app.kubernetes.io/name: smtp-server
app.kubernetes.io/part-of: mail
tier: backend
{{- end }}

{{/*
Metadata of an object: (dict "root" $ "suffix" "-lb" "labels" dict "annotations" dict), or "name" in place of a suffix.
The more special label or annotation wins over the common one.
*/}}
{{- define "smtp-server.metadata" -}}
{{- $labels := mergeOverwrite (dict) (fromYaml (include "smtp-server.labels" .root)) (.labels | default dict) -}}
{{- $annotations := mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) -}}
name: {{ .name | default (printf "%s%s" (include "smtp-server.fullname" .root) (.suffix | default "")) | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "smtp-server.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "smtp-server.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "smtp-server.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Secret with the server's secrets; empty when there is none. */}}
{{- define "smtp-server.secretName" -}}
{{- if or .Values.externalSecrets.enabled .Values.secrets.create -}}
{{ include "smtp-server.fullname" . }}-secrets
{{- else -}}
{{ .Values.secrets.existingSecret }}
{{- end -}}
{{- end }}

{{/* The Secret with the certificate; empty when the server makes its own, or has no TLS. */}}
{{- define "smtp-server.tlsSecretName" -}}
{{- if eq (include "smtp-server.tls" .) "true" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "smtp-server.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Kind of the workload. */}}
{{- define "smtp-server.kind" -}}
{{ ternary "StatefulSet" "Deployment" (eq .Values.mode "embedded") }}
{{- end }}

{{/* Whether something else says how many pods there are. */}}
{{- define "smtp-server.scaled" -}}
{{ or .Values.autoscaling.enabled .Values.keda.enabled }}
{{- end }}

{{/* The largest number of pods. */}}
{{- define "smtp-server.maxPods" -}}
{{- if .Values.autoscaling.enabled -}}
{{ int .Values.autoscaling.maxReplicas }}
{{- else if .Values.keda.enabled -}}
{{ int .Values.keda.maxReplicas }}
{{- else -}}
{{ int .Values.replicaCount }}
{{- end -}}
{{- end }}

{{/*
The largest number of pods that can be there at once: in an update of a Deployment new ones, and those that still end, since it
does not wait for them: one may be told to end each time another has been ready for minReadySeconds.
*/}}
{{- define "smtp-server.podsAtOnce" -}}
{{- $pods := include "smtp-server.maxPods" . | int -}}
{{- if eq .Values.mode "postgresql" -}}
{{- $surge := dig "rollingUpdate" "maxSurge" 1 .Values.deploymentStrategy -}}
{{- if kindIs "string" $surge -}}
{{- $surge = divf (mulf $pods (trimSuffix "%" $surge | float64)) 100 | ceil -}}
{{- end -}}
{{- $ending := $pods -}}
{{- if .Values.minReadySeconds -}}
{{- $ending = min $pods (mulf (ceil (divf (include "smtp-server.grace" . | float64) .Values.minReadySeconds)) $surge | int) -}}
{{- end -}}
{{ add $pods (int $surge) $ending }}
{{- else -}}
{{ $pods }}
{{- end -}}
{{- end }}

{{/* What preStop, the server's drain and its last writes take: docs/kubernetes.md has the formula. */}}
{{- define "smtp-server.leastGrace" -}}
{{- $handover := ternary 180 0 (eq .Values.mode "embedded") -}}
{{ add (int .Values.preStopSleepSeconds) 60 $handover 15 15 }}
{{- end }}

{{/* The grace period: what is given, else the mode's, else what a longer preStop asks for. */}}
{{- define "smtp-server.grace" -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{ int .Values.terminationGracePeriodSeconds }}
{{- else -}}
{{ max (ternary 300 120 (eq .Values.mode "embedded")) (include "smtp-server.leastGrace" . | int) }}
{{- end -}}
{{- end }}
