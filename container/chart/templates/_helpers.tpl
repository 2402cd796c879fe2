{{/* What selects the objects of one component: (dict "top" $ "component" "server"). */}}
{{- define "pinetboot.selector" -}}
app.kubernetes.io/name: pinetboot
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pinetboot.labels" -}}
{{ include "pinetboot.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ .top.Chart.Name }}-{{ .top.Chart.Version }}
{{- end }}

{{- define "pinetboot.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* All settings, as JSON: what the chart itself decides, and `config` over it. */}}
{{- define "pinetboot.settings" -}}
{{- $own := dict
    "server" (dict "address" .Values.address "data" "/srv/pinetboot")
    "fleet" (dict "file" "/etc/pinetboot/fleet.toml")
    "nfs" (dict "mode" (ternary "daemons" "off" .Values.nfs.enabled)) }}
{{- $all := mergeOverwrite $own (deepCopy .Values.config) }}
{{- if ne .Values.nfs.enabled (eq $all.nfs.mode "daemons") }}
{{- fail "config.nfs.mode is \"daemons\" exactly where nfs.enabled is true: leave one of them out" }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* Settings as TOML: a value of JSON, no table being inside a section, is one of TOML. */}}
{{- define "pinetboot.toml" -}}
{{- range $section, $keys := . }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{ end }}
{{- end }}

{{/* What root trees, of files of all owners and kinds, take beside root itself. */}}
{{- define "pinetboot.roots" -}}
{{- $mode := (include "pinetboot.settings" . | fromJson).nfs.mode }}
{{- if ne $mode "off" }}true{{ end }}
{{- end }}

{{/* Every port that is listened on: from the settings, so that the two never differ. */}}
{{- define "pinetboot.ports" -}}
{{- $all := include "pinetboot.settings" . | fromJson }}
{{- $tftp := dig "tftp" "port" 69 $all | int }}
{{- if ne (dig "dhcp" "mode" "proxy" $all) "off" }}
{{- include "pinetboot.port" (list "dhcp" (dig "dhcp" "port" 67 $all) "UDP") }}
{{- end }}
{{- if dig "tftp" "enabled" true $all }}
{{- include "pinetboot.port" (list "tftp" $tftp "UDP") }}
{{- end }}
{{- if dig "http" "enabled" true $all }}
{{- include "pinetboot.port" (list "http" (dig "http" "port" 80 $all) "TCP") }}
{{- end }}
{{- if dig "netconsole" "enabled" false $all }}
{{- include "pinetboot.port" (list "netconsole" (dig "netconsole" "port" 6666 $all) "UDP") }}
{{- end }}
{{- with dig "tftp" "data_ports" "" $all }}
{{- $ends := splitList "-" . }}
{{- range untilStep (first $ends | trim | int) (last $ends | trim | int | add1 | int) 1 }}
{{- if ne . $tftp }}
{{- include "pinetboot.port" (list (printf "data-%d" .) . "UDP") }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.nfs.enabled }}
{{- /* Over UDP as well, but a port that is there twice is lost when the object is patched. */}}
{{- include "pinetboot.port" (list "nfs" 2049 "TCP") }}
{{- range $name, $port := dict "rpcbind" 111 "mountd" (dig "nfs" "mountd_port" 32767 $all) "statd" (dig "nfs" "statd_port" 32765 $all) "lockd" (dig "nfs" "lockd_port" 32768 $all) }}
{{- include "pinetboot.port" (list $name $port "TCP") }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pinetboot.port" }}
- {name: {{ index . 0 }}, containerPort: {{ index . 1 | int }}, hostPort: {{ index . 1 | int }}, protocol: {{ index . 2 }}}
{{- end }}

{{/* The data volume of a pod. */}}
{{- define "pinetboot.data" -}}
- name: data
  {{- if .Values.persistence.hostPath }}
  hostPath: {path: {{ .Values.persistence.hostPath | quote }}, type: DirectoryOrCreate}
  {{- else }}
  persistentVolumeClaim: {claimName: {{ .Values.persistence.existingClaim | default (printf "%s-data" .Release.Name) }}}
  {{- end }}
{{- end }}
