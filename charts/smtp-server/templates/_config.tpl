{{/* The server's configuration: from `config` of the values to config.toml. */}}

{{/* What the chart sets when the values do not: as YAML. */}}
{{- define "smtp-server.own" -}}
{{- if .Values.hostNetwork }}
# The ports are the node's, and all the world reaches them: HTTP is for the node alone.
server:
  port: 25
smtps:
  port: 465
submission:
  port: 587
http:
  host: ["127.0.0.1"]
  {{- if ne (include "smtp-server.adminPort" .) "0" }}
  admin_host: ["127.0.0.1"]
  {{- end }}
{{- end }}
{{- end }}

{{/* The port of a listener of their own for admin API and console; 0: they are on `http`. */}}
{{- define "smtp-server.adminPort" -}}
{{ dig "http" "admin_port" 0 .Values.config | default 0 | int }}
{{- end }}

{{/* A setting that is given, or the chart's, or its default: (dict "root" $ "section" "server" "key" "port" "default" 2525). */}}
{{- define "smtp-server.setting" -}}
{{- $value := .default -}}
{{- range $settings := list (fromYaml (include "smtp-server.own" .root)) .root.Values.config -}}
{{- $given := get (get $settings $.section | default dict) $.key -}}
{{- if not (or (kindIs "invalid" $given) (and (kindIs "string" $given) (eq $given ""))) -}}{{- $value = $given -}}{{- end -}}
{{- end -}}
{{- if kindIs "float64" $value -}}{{ printf "%.0f" $value }}{{- else -}}{{ $value }}{{- end -}}
{{- end }}

{{/* The listeners' ports, by name: those of the values, else the server's defaults (a test asks the binary). */}}
{{- define "smtp-server.ports" -}}
{{- $tls := eq (include "smtp-server.tls" .) "true" -}}
smtp: {{ include "smtp-server.setting" (dict "root" . "section" "server" "key" "port" "default" 2525) }}
{{- if eq (include "smtp-server.setting" (dict "root" . "section" "smtps" "key" "enabled" "default" $tls)) "true" }}
smtps: {{ include "smtp-server.setting" (dict "root" . "section" "smtps" "key" "port" "default" 4650) }}
{{- end }}
{{- if eq (include "smtp-server.setting" (dict "root" . "section" "submission" "key" "enabled" "default" $tls)) "true" }}
submission: {{ include "smtp-server.setting" (dict "root" . "section" "submission" "key" "port" "default" 5870) }}
{{- end }}
http: {{ include "smtp-server.setting" (dict "root" . "section" "http" "key" "port" "default" 8080) }}
{{- with include "smtp-server.adminPort" . | int }}
admin: {{ . }}
{{- end }}
{{- end }}

{{/* The port where metrics are, and its name. */}}
{{- define "smtp-server.metricsPort" -}}
{{- $http := include "smtp-server.setting" (dict "root" . "section" "http" "key" "port" "default" 8080) -}}
{{ include "smtp-server.setting" (dict "root" . "section" "metrics" "key" "port" "default" $http) }}
{{- end }}
{{- define "smtp-server.metricsPortName" -}}
{{- $http := include "smtp-server.setting" (dict "root" . "section" "http" "key" "port" "default" 8080) -}}
{{ ternary "http" "metrics" (eq (include "smtp-server.metricsPort" .) $http) }}
{{- end }}
{{- define "smtp-server.metricsPath" -}}
{{ include "smtp-server.setting" (dict "root" . "section" "metrics" "key" "path" "default" "/metrics") }}
{{- end }}

{{- define "smtp-server.tls" -}}
{{ include "smtp-server.setting" (dict "root" . "section" "tls" "key" "enabled" "default" true) }}
{{- end }}

{{/* `off` or `v2`, by listener: (dict "root" $ "listener" "smtps"). The others follow `server`. */}}
{{- define "smtp-server.proxy" -}}
{{- $server := include "smtp-server.setting" (dict "root" .root "section" "server" "key" "proxy_protocol" "default" "off") -}}
{{- if eq .listener "smtp" -}}{{ $server }}
{{- else -}}{{ include "smtp-server.setting" (dict "root" .root "section" .listener "key" "proxy_protocol" "default" $server) }}
{{- end -}}
{{- end }}

{{/* The configuration as YAML: what the chart knows, and over it what the values say. */}}
{{- define "smtp-server.settings" -}}
{{- $own := fromYaml (include "smtp-server.own" .) -}}
{{- if include "smtp-server.tlsSecretName" . -}}
{{- $_ := set $own "tls" (dict "cert_file" "/etc/tls/tls.crt" "key_file" "/etc/tls/tls.key") -}}
{{- end -}}
{{- if ne .Values.profile "production" -}}
{{- $_ := set $own "server" (mergeOverwrite (dict "host" (list "::")) ($own.server | default dict)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $own (deepCopy .Values.config)) -}}
{{- end }}

{{- define "smtp-server.toml" -}}
{{- $settings := fromYaml (include "smtp-server.settings" .) -}}
# Written by the chart from its value `config`.
{{- range $name, $section := $settings }}
{{- include "smtp-server.toml.entry" (dict "path" $name "value" $section) }}
{{- end }}
{{- end }}

{{/*
A table, or a list of tables. Helm's own toToml makes floats of all numbers, which the server does not take for a port. A
TOML table has its plain keys first, and its tables after them.
*/}}
{{- define "smtp-server.toml.entry" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value }}

[{{ $path }}]
{{- include "smtp-server.toml.body" . }}
{{- else if kindIs "slice" .value }}
{{- range .value }}

[[{{ $path }}]]
{{- include "smtp-server.toml.body" (dict "path" $path "value" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "smtp-server.toml.body" -}}
{{- $path := .path -}}
{{- range $key, $value := .value }}
{{- if not (or (kindIs "invalid" $value) (eq (include "smtp-server.toml.nested" $value) "true")) }}
{{ $key }} = {{ include "smtp-server.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .value }}
{{- if eq (include "smtp-server.toml.nested" $value) "true" }}
{{- include "smtp-server.toml.entry" (dict "path" (printf "%s.%s" $path $key) "value" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "smtp-server.toml.nested" -}}
{{- if kindIs "map" . -}}true
{{- else if and (kindIs "slice" .) . -}}{{ kindIs "map" (first .) }}
{{- else -}}false
{{- end -}}
{{- end }}

{{/* A plain value. JSON's strings are TOML's. */}}
{{- define "smtp-server.toml.value" -}}
{{- if kindIs "string" . -}}{{ toJson . }}
{{- else if kindIs "bool" . -}}{{ . }}
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "smtp-server.toml.value" $item }}{{ end }}]
{{- else if eq (float64 .) (floor .) -}}{{ printf "%.0f" (float64 .) }}
{{- else -}}{{ . }}
{{- end -}}
{{- end }}
