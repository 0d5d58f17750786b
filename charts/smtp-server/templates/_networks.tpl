{{/* Networks in CIDR notation, as lists of numbers; sprig knows nothing of them. */}}

{{/*
A network as YAML: family, prefix length, and its groups: four of 8 bits or eight of 16. An address without a prefix is
one address.
*/}}
{{- define "smtp-server.network" -}}
{{- $parts := splitList "/" . -}}
{{- $address := first $parts -}}
{{- if contains ":" $address -}}
family: 6
bits: 16
prefix: {{ ternary (last $parts) "128" (gt (len $parts) 1) }}
{{- $halves := splitList "::" $address }}
{{- $front := compact (splitList ":" (first $halves)) }}
{{- $back := list }}
{{- if gt (len $halves) 1 }}{{ $back = compact (splitList ":" (last $halves)) }}{{ end }}
groups:
{{- range $front }}
- {{ int64 (printf "0x%s" .) }}
{{- end }}
{{- range until (int (sub 8 (add (len $front) (len $back)))) }}
- 0
{{- end }}
{{- range $back }}
- {{ int64 (printf "0x%s" .) }}
{{- end }}
{{- else -}}
family: 4
bits: 8
prefix: {{ ternary (last $parts) "32" (gt (len $parts) 1) }}
groups:
{{- range splitList "." $address }}
- {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whether two networks have an address in common: (list "10.0.0.0/8" "10.1.0.0/16"). */}}
{{- define "smtp-server.overlap" -}}
{{- $one := fromYaml (include "smtp-server.network" (first .)) -}}
{{- $two := fromYaml (include "smtp-server.network" (last .)) -}}
{{- $same := eq (int $one.family) (int $two.family) -}}
{{- if $same -}}
{{- $bits := int $one.bits -}}
{{- $left := min (int $one.prefix) (int $two.prefix) -}}
{{- range $index, $group := $one.groups -}}
{{- $covered := max 0 (min $bits $left) -}}
{{- $divisor := 1 -}}
{{- range until (int (sub $bits $covered)) -}}{{- $divisor = mul $divisor 2 -}}{{- end -}}
{{- if ne (div (int64 $group) $divisor) (div (int64 (index $two.groups $index)) $divisor) -}}{{- $same = false -}}{{- end -}}
{{- $left = sub $left $bits -}}
{{- end -}}
{{- end -}}
{{ $same }}
{{- end }}

{{/* Whether a network is so wide that it means anybody: halves and quarters of the internet too. */}}
{{- define "smtp-server.anywhere" -}}
{{- $network := fromYaml (include "smtp-server.network" .) -}}
{{ lt (int $network.prefix) (ternary 8 16 (eq (int $network.family) 4)) }}
{{- end }}

{{/* The first of `config.relay.networks` that nodes, pods or Services can have an address in; empty when there is none. */}}
{{- define "smtp-server.trustedInCluster" -}}
{{- $found := "" -}}
{{- range $trusted := dig "relay" "networks" list .Values.config | default list -}}
{{- range $cluster := $.Values.clusterCidrs -}}
{{- if and (not $found) (eq (include "smtp-server.overlap" (list $trusted $cluster)) "true") -}}{{- $found = $trusted -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ $found }}
{{- end }}
