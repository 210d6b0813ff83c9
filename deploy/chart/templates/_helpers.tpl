{{- define "stagedoor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Names of objects that are the whole cluster's: two installations must not share them. */}}
{{- define "stagedoor.clusterName" -}}
{{- printf "%s.%s" (include "stagedoor.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* The label's value of our shells and runs, 63 characters at most. */}}
{{- define "stagedoor.installation" -}}
{{- include "stagedoor.clusterName" . | trunc 63 | trimAll ".-" -}}
{{- end -}}

{{/* Which shells and runs (key) a policy judges: by label it is bound everywhere, so it names ours. */}}
{{- define "stagedoor.ours" -}}
objectSelector:
  {{- if .root.Values.apps.namespaceSelector }}
  matchLabels: {stagedoor.dev/installation: {{ include "stagedoor.installation" .root | quote }}}
  {{- end }}
  matchExpressions: [{key: {{ .key }}, operator: Exists}]
{{- end -}}

{{- define "stagedoor.selector" -}}
app.kubernetes.io/name: stagedoor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stagedoor.labels" -}}
{{ include "stagedoor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "stagedoor.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{/* Whether the controller runs inside the gateway: with a store that only one process can have. */}}
{{- define "stagedoor.inside" -}}{{ if .Values.store.sqlite.enabled }}true{{ end }}{{- end -}}

{{/* Names of the Secrets with keys: the user's own, or ours. */}}
{{- define "stagedoor.userCA" -}}{{ .Values.keys.userCA | default (printf "%s-user-ca" (include "stagedoor.fullname" .)) }}{{- end -}}
{{- define "stagedoor.hostCA" -}}{{ .Values.keys.hostCA | default (printf "%s-host-ca" (include "stagedoor.fullname" .)) }}{{- end -}}
{{- define "stagedoor.sshHost" -}}{{ .Values.keys.sshHost | default (printf "%s-ssh-host" (include "stagedoor.fullname" .)) }}{{- end -}}

{{/* A value of TOML; maps are inline tables. */}}
{{- define "stagedoor.inline" -}}
{{- if kindIs "map" . }}{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ toJson $key }} = {{ include "stagedoor.inline" $value }}{{ end -}} }
{{- else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* TOML from a map of tables. JSON's strings, numbers, booleans and lists of them are TOML's too. */}}
{{- define "stagedoor.toml" -}}
{{- range $key, $value := . }}{{ if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}{{ end }}
{{- range $table, $entries := . }}{{ if kindIs "map" $entries }}

[{{ $table }}]
{{- range $key, $value := $entries }}
{{- if kindIs "map" $value }}
{{ $key }} = {{ include "stagedoor.inline" $value }}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) }}
{{- else if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}{{ end }}
{{- range $key, $value := $entries }}{{ if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) }}
{{- range $one := $value }}

[[{{ $table }}.{{ $key }}]]
{{- range $k, $v := $one }}
{{ $k }} = {{ toJson $v }}
{{- end }}{{ end }}{{ end }}{{ end }}
{{- end }}{{ end }}
{{- end -}}

{{/* apps.namespaceSelector as the API takes it: stagedoor.dev/shells=true,example.com/tier=app. */}}
{{- define "stagedoor.labelSelector" -}}
{{- $terms := list }}{{ range $key, $value := .Values.apps.namespaceSelector }}{{ $terms = append $terms (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $terms -}}
{{- end -}}

{{/* What both parts are told: where the store and the apps are. */}}
{{- define "stagedoor.commonSettings" -}}
# The folder itself belongs to root and is open to our group; this one is ours.
data_dir: /var/lib/stagedoor/data
log: {format: json}
health: {address: ":8080"}
{{- if .Values.store.postgresql.url }}
store:
  url: {{ .Values.store.postgresql.url | quote }}
  {{- if .Values.store.postgresql.passwordSecret }}
  password_file: /etc/stagedoor/store/{{ .Values.store.postgresql.passwordKey }}
  {{- end }}
{{- end }}
{{- if include "stagedoor.hasApps" . }}
kubernetes:
  {{- with .Values.apps.namespaces }}
  namespaces:
    {{- range . }}
    {{ .environment | default "" | quote }}: {{ .name | quote }}
    {{- end }}
  {{- end }}
  {{- if .Values.apps.namespaceSelector }}
  namespace_selector: {{ include "stagedoor.labelSelector" . | quote }}
  {{- end }}
  {{- if .Values.authorise.enabled }}
  authorise: pods/exec
  {{- end }}
  {{- if .Values.fences.admission }}
  register: true
  {{- end }}
# The gateway derives shells too, to say which may start.
controller:
  kit_image: {{ include "stagedoor.image" .Values.kit | quote }}
  {{- if .Values.apps.namespaceSelector }}
  installation: {{ include "stagedoor.installation" . | quote }}
  {{- end }}
  {{- if not .Values.runAsUser }}
  kit_uid: 0
  {{- end }}
{{- end }}
{{- end -}}

{{- define "stagedoor.controllerSettings" -}}
{{- $leaving := include "stagedoor.leaving" . | fromJsonArray -}}
{{- with $leaving }}
kubernetes:
  leaving: {{ toJson . }}
{{- end }}
{{- if not (include "stagedoor.inside" .) }}
keys:
  user_ca_file: /run/stagedoor/user_ca.pub
  host_ca_file: /etc/stagedoor/host-ca/key
{{- end }}
{{- end -}}

{{/* The port of the Service by which people reach one of its listeners; nothing where only the cluster knows. */}}
{{- define "stagedoor.publicPort" -}}
{{- $service := .root.Values.gateway.service -}}
{{- $ports := ternary $service.nodePorts $service.ports (eq $service.type "NodePort") -}}
{{- if index $service.ports .name }}{{ with index $ports .name }}{{ int . }}{{ end }}{{ end -}}
{{- end -}}

{{/* URLs by which people reach CONNECT and the WebShell, as far as the values tell: JSON of both. */}}
{{- define "stagedoor.publicUrls" -}}
{{- $gateway := .Values.gateway -}}
{{- $tunnel := $gateway.public.tunnel -}}
{{- $web := $gateway.public.web -}}
{{- with first (concat $gateway.ssh.hostNames (list "")) -}}
{{- $host := ternary (printf "[%s]" .) . (contains ":" .) -}}
{{- $tls := include "stagedoor.publicPort" (dict "root" $ "name" "tls") -}}
{{- $plain := include "stagedoor.publicPort" (dict "root" $ "name" "tunnel") -}}
{{- $webTls := include "stagedoor.publicPort" (dict "root" $ "name" "web") -}}
{{- if not $tunnel -}}
{{- if and $gateway.tls.secretName $tls -}}
{{- $tunnel = ternary (printf "https://%s" $host) (printf "https://%s:%s" $host $tls) (eq $tls "443") -}}
{{- else if $plain -}}
{{- $tunnel = printf "http://%s:%s" $host $plain -}}
{{- end -}}{{- end -}}
{{- if and (not $web) (not $gateway.web.ingress.enabled) (not $gateway.web.domain) $gateway.tls.secretName $webTls -}}
{{- $web = ternary (printf "https://%s%s" $host $gateway.web.path) (printf "https://%s:%s%s" $host $webTls $gateway.web.path) (eq $webTls "443") -}}
{{- end -}}
{{- end -}}
{{- if and (not $web) $gateway.web.ingress.enabled -}}
{{- $web = printf "https://%s%s" ($gateway.web.domain | default $gateway.web.ingress.host) $gateway.web.path -}}
{{- end -}}
{{- toJson (dict "tunnel" $tunnel "web" $web) -}}
{{- end -}}

{{- define "stagedoor.gatewaySettings" -}}
{{- $public := include "stagedoor.publicUrls" . | fromJson -}}
tunnel:
  {{- with $public.tunnel }}
  public_url: {{ . }}
  {{- end }}
  addresses: {{ if .Values.gateway.service.ports.tunnel }}[":8022"]{{ else }}[]{{ end }}
  {{- if .Values.gateway.tls.secretName }}
  tls_addresses: [":8443"]
  certificate_file: /etc/stagedoor/tls/tls.crt
  key_file: /etc/stagedoor/tls/tls.key
  {{- end }}
{{- if .Values.gateway.ssh.enabled }}
ssh:
  addresses: [":2222"]
  host_names: {{ toJson .Values.gateway.ssh.hostNames }}
  {{- with .Values.gateway.public.sshPort | default (include "stagedoor.publicPort" (dict "root" . "name" "ssh")) }}
  public_port: {{ . }}
  {{- end }}
  host_key_file: /etc/stagedoor/ssh-host/key
  {{- if not (include "stagedoor.inside" .) }}
  host_certificate_file: /run/stagedoor/ssh_host-cert.pub
  {{- end }}
{{- end }}
{{- with .Values.gateway.web }}{{ if .enabled }}
web:
  addresses: [":8088"]
  {{- if and $.Values.gateway.service.ports.web $.Values.gateway.tls.secretName }}
  tls_addresses: [":8444"]
  {{- end }}
  {{- with $public.web }}
  public_url: {{ . }}
  {{- end }}
  forwarded_from: {{ toJson .forwardedFrom }}
  origins: {{ toJson .origins }}
  host_names: {{ toJson (concat .hostNames (ternary (list .ingress.host) list (and .ingress.enabled (not (empty .ingress.host))))) }}
  {{- with .domain }}
  domain: {{ . }}
  {{- end }}
  path: {{ .path | quote }}
  tmux: {{ .tmux }}
{{- end }}{{ end }}
{{- if not (and (include "stagedoor.inside" .) .Values.store.sqlite.persistence.enabled) }}
recording:
  # Of the 8 GiB of the pod's own folder.
  keep_gib: 5
{{- end }}
listen:
  networks: {{ toJson .Values.gateway.networks }}
  proxy_protocol_from: {{ toJson .Values.gateway.proxyProtocolFrom }}
workers:
  count: {{ .Values.gateway.workers }}
  drain_timeout_s: {{ .Values.gateway.drainSeconds }}
keys:
  user_ca_file: /etc/stagedoor/user-ca/key
  host_ca_file: {{ ternary "/etc/stagedoor/host-ca/key" "/run/stagedoor/host_ca.pub" (not (empty (include "stagedoor.inside" .))) }}
{{- end -}}

{{/* Pod Security `restricted`: https://kubernetes.io/docs/concepts/security/pod-security-standards/ */}}
{{- define "stagedoor.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
# So that the files of Secrets are ours to read.
fsGroup: {{ int . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "stagedoor.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "stagedoor.podEnv" -}}
# The image's /etc/passwd says it of its own uid; of another one nobody does, and the SSH library asks.
- {name: HOME, value: /var/lib/stagedoor}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}

{{/* Namespaces that apps.namespaces has no more: those of apps.leaving, and of the release as it is installed those in which a shell
is left. What fences a shell stays until it has gone. JSON. */}}
{{- define "stagedoor.leaving" -}}
{{- $named := list }}{{ range .Values.apps.namespaces }}{{ $named = append $named .name }}{{ end -}}
{{- $leaving := .Values.apps.leaving -}}
{{- $installed := lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-gateway" (include "stagedoor.fullname" .)) | default dict -}}
{{- $annotations := ($installed.metadata | default dict).annotations | default dict -}}
{{- range fromJsonArray (get $annotations "stagedoor.dev/namespaces" | default "[]") -}}
{{- $namespace := . -}}
{{- /* What has the label is the binder's. */ -}}
{{- $labelled := not (empty $.Values.apps.namespaceSelector) -}}
{{- if $labelled -}}
{{- $labels := ((lookup "v1" "Namespace" "" $namespace | default dict).metadata | default dict).labels | default dict -}}
{{- range $key, $value := $.Values.apps.namespaceSelector -}}{{- if ne (get $labels $key) $value -}}{{- $labelled = false -}}{{- end -}}{{- end -}}
{{- end -}}
{{- if not (or $labelled (has $namespace $named) (has $namespace $leaving)) -}}
{{- range ((lookup "apps/v1" "Deployment" $namespace "" | default dict).items | default list) -}}
{{- if and (hasKey (.metadata.labels | default dict) "stagedoor.dev/shell-of") (not (has $namespace $leaving)) -}}
{{- $leaving = append $leaving $namespace -}}
{{- end -}}{{- end -}}{{- end -}}{{- end -}}
{{- toJson ($leaving | sortAlpha) -}}
{{- end -}}

{{/* All namespaces in which shells may be. JSON. */}}
{{- define "stagedoor.fenced" -}}
{{- $names := include "stagedoor.leaving" . | fromJsonArray }}{{ range .Values.apps.namespaces }}{{ $names = append $names .name }}{{ end -}}
{{- toJson ($names | sortAlpha) -}}
{{- end -}}

{{/* "true" where there is any. */}}
{{- define "stagedoor.hasApps" -}}{{ if or (include "stagedoor.fenced" . | fromJsonArray) .Values.apps.namespaceSelector }}true{{ end }}{{- end -}}

{{/* Where a shell needs the register. By label: everywhere, since the label may go before the shell does. */}}
{{- define "stagedoor.inApps" -}}
{{- if not .Values.apps.namespaceSelector -}}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ include "stagedoor.fenced" . }}
{{- end -}}
{{- end -}}
