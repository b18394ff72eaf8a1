{{- define "regent-agent.name" -}}
regent-agent{{ if eq .Values.side "Hub" }}-{{ .Values.region }}{{ end }}
{{- end }}

{{- define "regent-agent.labels" -}}
app.kubernetes.io/name: regent-agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: regent
app.kubernetes.io/managed-by: {{ .Release.Service }}
regent.dev/region: {{ .Values.region }}
{{- end }}
