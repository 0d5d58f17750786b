{{/* Kubernetes' quantities as plain numbers, in thousandths of what they count: `500m` is 500, `1Gi` 1073741824000. */}}
{{- define "smtp-server.quantity" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $factors := dict "m" 1 "" 1000 "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "Ki" 1024000 "Mi" 1048576000 "Gi" 1073741824000 "Ti" 1099511627776000 -}}
{{- printf "%.0f" (mulf (float64 $number) (get $factors $unit | default 1000)) -}}
{{- end }}

{{/* What large messages may take of the volume data in mode postgresql, in octets: 80 % of it. */}}
{{- define "smtp-server.scratchSize" -}}
{{- div (mul (include "smtp-server.quantity" .Values.scratch.sizeLimit | int64) 8) 10000 -}}
{{- end }}
