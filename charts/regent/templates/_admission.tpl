{{- /* The user that the operator signs in as. */ -}}
{{- define "regent.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "regent.serviceAccountName" . }}
{{- end }}

{{- /* Accounts whose writes carry a fence, as a CEL list. */ -}}
{{- define "regent.fencedAccounts" -}}
[{{ range $index, $name := .Values.admission.fencedAccounts | default (list (include "regent.username" .)) }}{{ if $index }}, {{ end }}{{ $name | squote }}{{ end }}]
{{- end }}

{{- /* Whether a text is a fence: three numbers. Anything else was written by hand and binds nobody. */ -}}
{{- define "regent.isFence" -}}
{{ . }}.matches('^[0-9]+[.][0-9]+[.][0-9]+$')
{{- end }}

{{- /* The numbers of a fence. More than 18 digits would not fit; the operator reads the first 18 too. */ -}}
{{- define "regent.fenceNumbers" -}}
{{ . }}.split('.').map(part, int(part.size() > 18 ? part.substring(0, 18) : part))
{{- end }}

{{- /* The version of MutatingAdmissionPolicy to use: stable in Kubernetes 1.36, before that a beta that is off by
default. Empty: none is served. */ -}}
{{- define "regent.mutatingVersion" -}}
{{- $asked := .Values.admission.stampWith -}}
{{- $group := "admissionregistration.k8s.io" -}}
{{- if eq $asked "V1" -}}v1
{{- else if eq $asked "V1beta1" -}}v1beta1
{{- else if eq $asked "Auto" -}}
{{- if or (.Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group)) (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}v1
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) -}}v1beta1
{{- end -}}
{{- end -}}
{{- end }}

{{- /* "true" where the operator's webhook writes the names in. */ -}}
{{- define "regent.stampsByWebhook" -}}
{{- $asked := .Values.admission.stampWith -}}
{{- if .Values.admission.requester -}}
{{- if or (eq $asked "Webhook") (and (eq $asked "Auto") (not (include "regent.mutatingVersion" .))) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{- /* The Secret with the webhook's certificate. */ -}}
{{- define "regent.webhookSecret" -}}
{{ .Values.admission.webhook.secretName | default (printf "%s-webhook" (include "regent.fullname" .)) }}
{{- end }}

{{- /* What is claimed about a Failover, now and before. `control` is the part of spec.control that is a permission. */ -}}
{{- define "regent.requesterVariables" -}}
- name: requester
  expression: object.metadata.?annotations[?'regent.dev/requested-by'].orValue('')
- name: oldRequester
  expression: >-
    request.operation == 'CREATE' ? '' : oldObject.metadata.?annotations[?'regent.dev/requested-by'].orValue('')
- name: approver
  expression: object.metadata.?annotations[?'regent.dev/approved-by'].orValue('')
- name: oldApprover
  expression: >-
    request.operation == 'CREATE' ? '' : oldObject.metadata.?annotations[?'regent.dev/approved-by'].orValue('')
- name: manager
  expression: object.metadata.?labels[?'regent.dev/managed-by'].orValue('')
- name: oldManager
  expression: >-
    request.operation == 'CREATE' ? '' : oldObject.metadata.?labels[?'regent.dev/managed-by'].orValue('')
- name: control
  expression: >-
    object.spec.?control.?approvedPlan.orValue('') + '|' +
    string(object.spec.?control.?acceptDataLoss.orValue(false)) + '|' +
    string(object.spec.?control.?force.orValue(false))
- name: oldControl
  expression: >-
    request.operation == 'CREATE' ? '|false|false' : oldObject.spec.?control.?approvedPlan.orValue('') + '|' +
    string(oldObject.spec.?control.?acceptDataLoss.orValue(false)) + '|' +
    string(oldObject.spec.?control.?force.orValue(false))
{{- end }}

{{- /* Whether a PlacementPolicy selects what has these labels, as the operator reads it: all of matchLabels and all of
matchExpressions; an empty selector selects everything. */ -}}
{{- define "regent.placementSelects" -}}
variables.matchLabels.all(key, key in {{ . }} && {{ . }}[key] == variables.matchLabels[key]) &&
variables.matchExpressions.all(item, item.operator == 'In' ? item.key in {{ . }} && {{ . }}[item.key] in item.values :
item.operator == 'NotIn' ? !(item.key in {{ . }} && {{ . }}[item.key] in item.values) : item.operator == 'Exists' ?
item.key in {{ . }} : !(item.key in {{ . }}))
{{- end }}

{{- /* The regions where a FailoverPolicy or a ReplicationPolicy may put something. What is copied may come from anywhere,
but with both directions the source gets copies as well. */ -}}
{{- define "regent.placementRegions" -}}
has({{ . }}.spec.regions) ? {{ . }}.spec.regions.map(item, item.name) : {{ . }}.spec.targets.map(item, item.region) +
({{ . }}.spec.?direction.orValue('OneWay') == 'Bidirectional' && has({{ . }}.spec.source.region) ?
[{{ . }}.spec.source.region] : [])
{{- end }}

{{- /* From where to where a ReplicationPolicy copies, each as a text. Where the source is another policy's, it is one of
the targets or none of them: with two of them at least one is another region. */ -}}
{{- define "regent.placementWays" -}}
has({{ . }}.spec.regions) ? [] : has({{ . }}.spec.source.region) ?
{{ . }}.spec.targets.filter(item, item.region != {{ . }}.spec.source.region)
.map(item, 'from ' + {{ . }}.spec.source.region + ' to ' + item.region) :
{{ . }}.spec.targets.size() < 2 ? [] : {{ . }}.spec.targets.map(item, 'to ' + item.region)
{{- end }}
