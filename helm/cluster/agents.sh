# The agents' chart. To be sourced by helm/prove.

chart=helm/warren-agent

step 'agents: every set of values'
every_set "$chart"

step 'agents: what makes no sense'
every_refusal "$chart"

step 'agents: install, test, 3 to 5 to 3 to 5'
name=site-1-warren-agent
members() { seq --format "$name-%g" --separator ' ' 0 $(($1 - 1)); }
claims() { kubectl get pvc --selector app.kubernetes.io/instance=site-1 --output name | wc -l; }
disk_of() { field "pvc/data-$name-$1" .spec.volumeName; }
does 'install' helm install site-1 "$chart" --values "$chart/ci/group.yaml" --wait
is 'pods' "$(members 3)" pods site-1
is 'zones' 3 eval "kubectl get pods --selector app.kubernetes.io/instance=site-1 --output jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l"
does 'helm test (faked pod)' helm test site-1
does 'upgrade to five' helm upgrade site-1 "$chart" --reuse-values --set replicas=5 --wait
is 'pods' "$(members 5)" pods site-1
fifth=$(disk_of 4)
does 'upgrade to three' helm upgrade site-1 "$chart" --reuse-values --set replicas=3 --wait
becomes 'pods' "$(members 3)" pods site-1
is 'claims that are kept' 5 claims
does 'rollback to five' helm rollback site-1 2 --wait
is 'pods' "$(members 5)" pods site-1
is 'disk of the fifth' "$fifth" disk_of 4
does 'kubectl scale to three' kubectl scale "statefulset/$name" --replicas 3
becomes 'pods' "$(members 3)" pods site-1
does 'helm upgrade to three' helm upgrade site-1 "$chart" --reuse-values --set replicas=3 --wait

step 'agents: one at a time'
watched "statefulset/$name" .status.readyReplicas
does 'rolling upgrade' helm upgrade site-1 "$chart" --reuse-values --set-string podAnnotations.round=2
does 'it ends' kubectl rollout status "statefulset/$name" --timeout 3m
does 'rollback' helm rollback site-1
does 'it ends' kubectl rollout status "statefulset/$name" --timeout 3m
is 'fewest ready meanwhile' 2 fewest
one_at_a_time site-1 1

step 'agents: what they may ask of Kubernetes'
may() { kubectl auth can-i "$@" --as "system:serviceaccount:$ns:$name" || true; }
is 'rights' "statefulsets.apps [] [$name] [get]" rights "$name"
is 'get the own StatefulSet' yes may get "statefulsets.apps/$name"
is 'get another' no may get statefulsets.apps/another
is 'list them' no may list statefulsets.apps
is 'change it' no may patch "statefulsets.apps/$name"
is 'scale it' no may update "statefulsets.apps/$name" --subresource scale
is 'read a secret' no may get "secrets/$name-token"
is 'seconds that a token holds' 3600 field "statefulset/$name" \
    '.spec.template.spec.volumes[?(@.name=="account")].projected.sources[0].serviceAccountToken.expirationSeconds'
token=$(kubectl create token "$name" --duration 10m)
asked() { curl --silent --cacert "$work/ca.crt" --header "Authorization: Bearer $token" "https://127.0.0.1:$api/apis/apps/v1/namespaces/$ns/statefulsets/$1"; }
is 'replicas, asked with a token of that account' 3 eval "asked $name | jq_ '[\"spec\"][\"replicas\"]'"
is 'another StatefulSet, asked with it' Forbidden eval "asked another | jq_ '[\"reason\"]'"
does 'members that do not leave' helm upgrade site-1 "$chart" --reuse-values --set leaveWhenScaledDown=false --wait
is 'rights then' '' rights "$name"

step 'agents: uninstall'
does 'uninstall' helm uninstall site-1 --wait
becomes 'nothing is left' yes eval 'gone site-1 && echo yes'
is 'claims that are kept' 5 claims
