{{/* Parts of Services. */}}

{{- define "smtp-server.families" -}}
ipFamilyPolicy: {{ .ipFamilyPolicy }}
{{- with .ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A port, named like the container's: (dict "name" "smtp" "port" 25 "nodePort" 0). */}}
{{- define "smtp-server.servicePort" -}}
{{- $protocols := dict "smtp" "smtp" "smtps" "submissions" "submission" "submission" "http" "http" "admin" "http" "metrics" "http" -}}
- name: {{ .name }}
  port: {{ int .port }}
  targetPort: {{ .name }}
  protocol: TCP
  appProtocol: {{ get $protocols .name }}
  {{- with .nodePort }}
  nodePort: {{ int . }}
  {{- end }}
{{- end }}

{{/* A Service that is reached from outside, from `mx` or `submission` of the values. */}}
{{- define "smtp-server.outside" -}}
type: {{ .type }}
{{- if ne .type "ClusterIP" }}
externalTrafficPolicy: {{ .externalTrafficPolicy }}
{{- if and .healthCheckNodePort (eq .type "LoadBalancer") (eq .externalTrafficPolicy "Local") }}
healthCheckNodePort: {{ int .healthCheckNodePort }}
{{- end }}
{{- end }}
{{- if eq .type "LoadBalancer" }}
{{- with .loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- if not .allocateLoadBalancerNodePorts }}
allocateLoadBalancerNodePorts: false
{{- end }}
{{- with .loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .externalIPs }}
externalIPs:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "smtp-server.families" . }}
{{- end }}
