{{/* The pod: one template for the StatefulSet and the Deployment. Only /data differs. */}}
{{- define "smtp-server.pod" -}}
{{- $ports := fromYaml (include "smtp-server.ports" .) -}}
{{- $secret := include "smtp-server.secretName" . -}}
{{- $tlsSecret := include "smtp-server.tlsSecretName" . -}}
{{- $postgresql := eq .Values.mode "postgresql" -}}
{{- $annotations := mergeOverwrite (dict "kubectl.kubernetes.io/default-container" "smtp-server") .Values.podAnnotations -}}
{{- if .Values.rollOnConfigChange -}}
{{- $_ := set $annotations "checksum/config" (include "smtp-server.toml" . | sha256sum) -}}
{{- end -}}
metadata:
  labels:
    {{- toYaml (mergeOverwrite (fromYaml (include "smtp-server.podLabels" .)) .Values.commonLabels .Values.podLabels) | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "smtp-server.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  # Kubernetes would set SMTP_… variables for a Service called smtp.
  enableServiceLinks: false
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "smtp-server.grace" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- if not (kindIs "invalid" .Values.hostUsers) }}
  hostUsers: {{ .Values.hostUsers }}
  {{- end }}
  {{- if or .Values.dnsPolicy .Values.hostNetwork }}
  dnsPolicy: {{ default "ClusterFirstWithHostNet" .Values.dnsPolicy }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpread }}
  topologySpreadConstraints:
  {{- range . }}
  - maxSkew: {{ int .maxSkew }}
    topologyKey: {{ .topologyKey }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    nodeTaintsPolicy: Honor
    labelSelector:
      matchLabels:
        {{- include "smtp-server.selector" $ | nindent 8 }}
    # The pods of one revision among themselves, so that a rollout does not end lopsided.
    matchLabelKeys: [{{ ternary "pod-template-hash" "controller-revision-hash" $postgresql }}]
  {{- end }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  containers:
  {{- $probeHost := ternary "host: 127.0.0.1" "" .Values.hostNetwork }}
  - name: smtp-server
    image: {{ include "smtp-server.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    env:
    - name: SMTP_PROFILE
      value: {{ .Values.profile }}
    - name: SMTP_DB_PATH
      value: /data/smtp.db
    {{- if $secret }}
    {{- if eq (include "smtp-server.hasAdminPassword" .) "true" }}
    - name: SMTP_ADMIN_PASSWORD_FILE
      value: /run/secrets/smtp/{{ .Values.secrets.adminPasswordKey }}
    {{- end }}
    {{- if eq (include "smtp-server.hasDkim" .) "true" }}
    - name: SMTP_DKIM_PRIVATE_KEY_FILE
      value: /run/secrets/smtp/{{ .Values.secrets.dkimPrivateKeyKey }}
    {{- end }}
    {{- end }}
    {{- if $postgresql }}
    - name: SMTP_DATABASE_URL_FILE
      value: {{ ternary "/run/secrets/database/" "/run/secrets/smtp/" (ne .Values.database.existingSecret "") }}{{ .Values.database.urlKey }}
    {{- if not (include "smtp-server.setting" (dict "root" . "section" "storage" "key" "scratch_size" "default" "")) }}
    # 80 % of the volume data: beyond its sizeLimit the kubelet would evict the pod.
    - name: SMTP_STORAGE__SCRATCH_SIZE
      value: {{ include "smtp-server.scratchSize" . | quote }}
    {{- end }}
    {{- end }}
    {{- if and $postgresql .Values.database.caSecret }}
    # For what the URL does not say: operators' URLs often leave both out, and then nothing would be verified.
    - name: PGSSLMODE
      value: verify-full
    - name: PGSSLROOTCERT
      value: /etc/database/ca.crt
    {{- end }}
    {{- if .Values.scaleAware.enabled }}
    - name: SMTP_KUBERNETES__STATEFULSET
      value: {{ include "smtp-server.fullname" . | quote }}
    # Not the host name: on a node's network that is the node's.
    - name: SMTP_KUBERNETES__POD
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    ports:
    {{- range $name := list "smtp" "smtps" "submission" "http" "admin" }}
    {{- with get $ports $name }}
    - name: {{ $name }}
      containerPort: {{ . }}
      protocol: TCP
      {{- with get $.Values.hostPorts $name }}
      hostPort: {{ . }}
      {{- end }}
      {{- if $.Values.hostNetwork }}
      hostPort: {{ . }}
      {{- if has $name (list "http" "admin") }}
      hostIP: 127.0.0.1
      {{- end }}
      {{- end }}
    {{- end }}
    {{- end }}
    {{- if ne (include "smtp-server.metricsPortName" .) "http" }}
    - name: metrics
      containerPort: {{ include "smtp-server.metricsPort" . }}
      protocol: TCP
    {{- end }}
    resources:
      {{- include "smtp-server.resources" . | nindent 6 }}
    startupProbe:
      httpGet:
        path: /health/live
        port: http
        {{- with $probeHost }}
        {{ . }}
        {{- end }}
      {{- toYaml .Values.probes.startup | nindent 6 }}
    livenessProbe:
      httpGet:
        path: /health/live
        port: http
        {{- with $probeHost }}
        {{ . }}
        {{- end }}
      {{- toYaml .Values.probes.liveness | nindent 6 }}
    readinessProbe:
      httpGet:
        path: /health/ready
        port: http
        {{- with $probeHost }}
        {{ . }}
        {{- end }}
      {{- toYaml .Values.probes.readiness | nindent 6 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ int .Values.preStopSleepSeconds }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
    - name: data
      mountPath: /data
    - name: config
      mountPath: /etc/smtp-server
      readOnly: true
    {{- if $tlsSecret }}
    - name: tls
      mountPath: /etc/tls
      readOnly: true
    {{- end }}
    {{- if $secret }}
    - name: secrets
      mountPath: /run/secrets/smtp
      readOnly: true
    {{- end }}
    {{- if and $postgresql .Values.database.existingSecret }}
    - name: database
      mountPath: /run/secrets/database
      readOnly: true
    {{- end }}
    {{- if and $postgresql .Values.database.caSecret }}
    - name: database-ca
      mountPath: /etc/database
      readOnly: true
    {{- end }}
    - name: tmp
      mountPath: /tmp
    {{- if .Values.scaleAware.enabled }}
    - name: kubernetes
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  volumes:
  # 288 is 0440: for the group of fsGroup alone.
  - name: config
    configMap:
      name: {{ include "smtp-server.fullname" . }}-config
  {{- with $tlsSecret }}
  - name: tls
    secret:
      secretName: {{ . | quote }}
      defaultMode: 288
  {{- end }}
  {{- with $secret }}
  - name: secrets
    secret:
      secretName: {{ . | quote }}
      defaultMode: 288
  {{- end }}
  {{- if and $postgresql .Values.database.existingSecret }}
  - name: database
    secret:
      secretName: {{ .Values.database.existingSecret | quote }}
      defaultMode: 288
      items:
      - key: {{ .Values.database.urlKey }}
        path: {{ .Values.database.urlKey }}
  {{- end }}
  {{- if and $postgresql .Values.database.caSecret }}
  - name: database-ca
    secret:
      secretName: {{ .Values.database.caSecret | quote }}
      defaultMode: 288
      items:
      - key: {{ .Values.database.caKey }}
        path: ca.crt
  {{- end }}
  - name: tmp
    emptyDir:
      {{- include "smtp-server.emptyDir" .Values.tmp | nindent 6 }}
  {{- if .Values.scaleAware.enabled }}
  # What automountServiceAccountToken would bring, for this container only.
  - name: kubernetes
    projected:
      defaultMode: 288
      sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
          - key: ca.crt
            path: ca.crt
      - downwardAPI:
          items:
          - path: namespace
            fieldRef:
              fieldPath: metadata.namespace
  {{- end }}
  {{- if $postgresql }}
  - name: data
    emptyDir:
      {{- include "smtp-server.emptyDir" .Values.scratch | nindent 6 }}
  {{- else if eq .Values.persistence.type "emptyDir" }}
  - name: data
    emptyDir:
      sizeLimit: {{ .Values.persistence.size }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
Whether the Secret has what a variable would name, as far as the chart can know: a file that is named and not there ends the server
(78). (dict "root" $ "key" "NAME" "given" "what secrets.values has for it")
*/}}
{{- define "smtp-server.hasKey" -}}
{{- $external := .root.Values.externalSecrets -}}
{{- if not .key -}}false
{{- else if $external.enabled -}}{{ or (hasKey $external.data .key) (gt (len $external.dataFrom) 0) }}
{{- else if .root.Values.secrets.create -}}{{ ne .given "" }}
{{- else -}}{{ ne .root.Values.secrets.existingSecret "" }}
{{- end -}}
{{- end }}

{{- define "smtp-server.hasAdminPassword" -}}
{{- include "smtp-server.hasKey" (dict "root" . "key" .Values.secrets.adminPasswordKey "given" .Values.secrets.values.adminPassword) -}}
{{- end }}

{{- define "smtp-server.hasDkim" -}}
{{- include "smtp-server.hasKey" (dict "root" . "key" .Values.secrets.dkimPrivateKeyKey "given" .Values.secrets.values.dkimPrivateKey) -}}
{{- end }}

{{/* The container's resources. What is not said of ephemeral storage goes by what the mode keeps there. */}}
{{- define "smtp-server.resources" -}}
{{- $embedded := eq .Values.mode "embedded" -}}
{{- $requests := dict "ephemeral-storage" (ternary "64Mi" "1Gi" $embedded) -}}
{{- $limits := dict "ephemeral-storage" (ternary "1Gi" "5Gi" $embedded) -}}
{{- toYaml (mergeOverwrite (dict "requests" $requests "limits" $limits) (deepCopy .Values.resources)) -}}
{{- end }}

{{- define "smtp-server.emptyDir" -}}
sizeLimit: {{ .sizeLimit }}
{{- with .medium }}
medium: {{ . }}
{{- end }}
{{- end }}
