{{- define "slm-mesh.name" -}}slm-mesh{{- end }}

{{- define "slm-mesh.operator" -}}
{{- if eq .Release.Name "slm-mesh" }}slm-mesh-operator{{ else }}{{ printf "%s-slm-mesh-operator" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "slm-mesh.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "slm-mesh.operator" .) -}}
{{- end }}

{{- define "slm-mesh.selector" -}}
app.kubernetes.io/name: slm-mesh
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "slm-mesh.labels" -}}
app.kubernetes.io/name: slm-mesh
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* (dict "root" $ "name" "head") → registry/repository:tag */ -}}
{{- define "slm-mesh.image" -}}
{{- $image := index .root.Values.images .name -}}
{{- with .root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}:{{ $image.tag -}}
{{- end }}

{{- /* How a Prometheus shows who it is: the operator keeps its certificate in the Secret slm-mesh-monitor. */ -}}
{{- define "slm-mesh.monitorCertificate" -}}
cert: {secret: {name: slm-mesh-monitor, key: tls.crt}}
keySecret: {name: slm-mesh-monitor, key: tls.key}
{{- end }}

{{- /* The operator's certificate is of the CA in that Secret; it names the role, not an address. */ -}}
{{- define "slm-mesh.operatorTls" -}}
ca: {secret: {name: slm-mesh-monitor, key: ca.crt}}
serverName: operator.monitoring.slmmesh
{{ include "slm-mesh.monitorCertificate" . }}
{{- end }}

{{- /* What the operator may do where it serves clusters. */ -}}
{{- define "slm-mesh.rules" -}}
- apiGroups: [slmmesh.io]
  resources: [inferenceclusters]
  verbs: [list, watch, patch{{ if .Values.adoptRayClusters }}, get, create{{ end }}]
- apiGroups: [slmmesh.io]
  resources: [inferenceclusters/status]
  verbs: [patch]
# For the owner references of what it makes, where the API server checks them.
- apiGroups: [slmmesh.io]
  resources: [inferenceclusters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# The clusters' certificates. It never lists or watches Secrets.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.adoptRayClusters }}
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [list, watch]
{{- end }}
{{- end }}
