{{- /* The names are fixed, and the same as kustomize's: a node has one agent, so a cluster has one release. */ -}}
{{- define "podwire.labels" -}}
app.kubernetes.io/name: podwire
{{- end }}
