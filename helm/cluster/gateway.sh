# The gateway's chart. To be sourced by helm/prove.

chart=helm/warren-gateway

step 'gateway: every set of values'
kubectl create --filename - >/dev/null <<'EOF'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
EOF
every_set "$chart"

step 'gateway: what makes no sense'
every_refusal "$chart"

step 'gateway on SQLite: install, test, upgrade, roll back, uninstall'
url=publicUrl=https://gateway.example.com
name=gateway-warren-gateway
grace=.spec.template.spec.terminationGracePeriodSeconds
does 'install' helm install gateway "$chart" --set "$url" --wait
is 'pods ready' 1 field "deployment/$name" .status.readyReplicas
does 'helm test (faked pod)' helm test gateway
does 'upgrade' helm upgrade gateway "$chart" --reuse-values --set drainSeconds=60 --wait
is 'grace after the upgrade' 80 field "deployment/$name" "$grace"
does 'rollback' helm rollback gateway 1 --wait
is 'grace after the rollback' 50 field "deployment/$name" "$grace"
does 'uninstall' helm uninstall gateway --wait
becomes 'nothing is left' yes eval 'gone gateway && echo yes'
is 'claim is kept' Bound field "pvc/$name" .status.phase
does 'install on the claim that was kept' helm install gateway "$chart" --set "$url" --wait
does 'uninstall' helm uninstall gateway --wait

step 'gateway on PostgreSQL: three replicas, one at a time'
does 'install' helm install gateway "$chart" --values "$chart/ci/several.yaml" --wait
is 'pods ready' 3 field "deployment/$name" .status.readyReplicas
# They count as available 5 s later.
does 'available' kubectl rollout status "deployment/$name" --timeout 2m
is 'nodes' 3 eval "kubectl get pods --selector app.kubernetes.io/instance=gateway --output jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l"
watched "deployment/$name" .status.availableReplicas
does 'upgrade' helm upgrade gateway "$chart" --reuse-values --set-string podAnnotations.round=2 --wait
does 'it ends' kubectl rollout status "deployment/$name" --timeout 2m
does 'rollback' helm rollback gateway 1 --wait
does 'it ends' kubectl rollout status "deployment/$name" --timeout 2m
is 'fewest available meanwhile' 3 fewest
one_at_a_time gateway 1
does 'autoscaling' helm upgrade gateway "$chart" --reuse-values --set autoscaling.enabled=true,autoscaling.minReplicas=4 --wait
becomes 'pods by the autoscaler' 4 field "deployment/$name" .status.readyReplicas
is 'bounds' 4-6 field "hpa/$name" '.spec.minReplicas}-{.spec.maxReplicas'
does 'fewer again' helm upgrade gateway "$chart" --reuse-values --set autoscaling.enabled=false --wait
becomes 'pods' 3 field "deployment/$name" .status.readyReplicas
is 'ports that the network policy knows' '8443 20000 9100' field "networkpolicy/$name" '.spec.ingress[*].ports[*].port'
is 'what the pods may ask of Kubernetes' '' rights "$name"
does 'uninstall' helm uninstall gateway --wait
becomes 'nothing is left' yes eval 'gone gateway && echo yes'
