{{- define "rockstartf.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name | replace "." "-" | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- /* Name of a resource of a part: gateway or model-server. Takes (list $ PART). */ -}}
{{- define "rockstartf.name" -}}
{{ include "rockstartf.fullname" (first .) }}-{{ last . }}
{{- end }}

{{- define "rockstartf.selector" -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
{{- end }}

{{- define "rockstartf.common" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: rockstartf
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rockstartf.labels" -}}
app.kubernetes.io/name: {{ last . }}
{{ include "rockstartf.common" (first .) }}
{{- end }}

{{- /* Labels of pods: without the version, which would change at each upgrade. */ -}}
{{- define "rockstartf.podLabels" -}}
{{ include "rockstartf.selector" . }}
app.kubernetes.io/part-of: rockstartf
{{- end }}

{{- /* Takes (list $ NAME-OF-IMAGE). */ -}}
{{- define "rockstartf.image" -}}
{{- $images := (first .).Values.images }}
{{- $image := index $images (last .) }}
{{- $version := printf "%s%s" (first .).Chart.AppVersion (ternary "-gpu" "" (eq (last .) "tfservingGpu")) -}}
{{ $images.registry }}/{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $version }}{{ end }}
{{- end }}

{{- define "rockstartf.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  {{- with .Values.podSecurityContext }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "rockstartf.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "rockstartf.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "rockstartf.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{- /* Where pods run. Takes the values of a part. */ -}}
{{- define "rockstartf.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "rockstartf.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A setting in seconds, rounded up. Takes (list $ NAME DEFAULT). */ -}}
{{- define "rockstartf.seconds" -}}
{{ get (first .).Values.gateway.settings (index . 1) | default (last .) | float64 | ceil | int }}
{{- end }}

{{- /* From the age of connections (10 s, and a tenth) to the half minute for which DNS may return a removed
pod, and the longest request. */ -}}
{{- define "rockstartf.preStop" -}}
{{ add 45 (include "rockstartf.seconds" (list . "ROCKSTAR_MAX_REQUEST_TIMEOUT" 10)) }}
{{- end }}

{{- define "rockstartf.modelVolume" -}}
model-{{ regexReplaceAll "[^a-z0-9]+" (lower .) "-" | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "rockstartf.keysSecret" -}}
{{- if .Values.apiKeys.existingSecret }}{{ .Values.apiKeys.existingSecret }}
{{- else if .Values.apiKeys.toml }}{{ include "rockstartf.name" (list . "gateway-keys") }}
{{- end }}
{{- end }}

{{- /* The Secret of a part's certificate. Takes (list $ PART-IN-VALUES NAME). */ -}}
{{- define "rockstartf.tlsSecret" -}}
{{ index (first .).Values.tls (printf "%sSecret" (index . 1)) | default (include "rockstartf.name" (list (first .) (last .))) }}
{{- end }}

{{- define "rockstartf.clientNamespaces" -}}
- namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{- toYaml .Values.networkPolicy.clientNamespaces | nindent 10 }}
{{- end }}

{{- define "rockstartf.dns" -}}
# To any address: some clusters run DNS on the nodes.
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- /* The paths for clients, without metrics and probes: type and path. */ -}}
{{- define "rockstartf.paths" -}}
- [Exact, /]
- [Prefix, /static]
- [Prefix, /predict]
- [Prefix, /explain]
- [Prefix, /v1]
- [Prefix, /v2]
- [Prefix, /docs]
- [Prefix, /page]
- [Exact, /playground]
- [Prefix, /edge]
- [Prefix, /litert]
- [Exact, /openapi.json]
{{- end }}
