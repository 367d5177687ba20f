# A Kubernetes control plane on loopback: etcd, API server, controller manager and scheduler as they are, nodes and pods by kwok.
# To be sourced. `up DIR` starts it with all that it keeps in DIR, and sets KUBECONFIG; `down` ends it.

bin=${WARREN_KUBE_BIN:-$HOME/.cache/warren-kube}
nodes=8
disks=40
running=()

free_ports() {
    python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range('"$1"')]
print(*(socket.getsockname()[1] for socket in held))'
}

# name, command: in the background, with its log in the folder.
start() {
    local name=$1
    shift
    "$@" >"$dir/$name.log" 2>&1 &
    running+=($!)
}

# What it is, how many seconds it may take, command: until it succeeds.
until_true() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then printf 'FAILED: %s did not come\n' "$what" >&2; return 1; fi
        sleep 0.2
    done
}

certificates() {
    openssl req -x509 -newkey rsa:2048 -noenc -days 1 -subj /CN=cluster -keyout "$dir/ca.key" -out "$dir/ca.crt"
    openssl req -newkey rsa:2048 -noenc -subj /CN=kube-apiserver -keyout "$dir/api.key" -out "$dir/api.csr"
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >"$dir/api.ext"
    openssl x509 -req -days 1 -in "$dir/api.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -extfile "$dir/api.ext" -out "$dir/api.crt"
    openssl genrsa -out "$dir/accounts.key" 2048
} 2>/dev/null

# Whoever has the token is who the second word says.
kubeconfig() {
    local token
    token=$(openssl rand -hex 16)
    printf '%s,%s,%s,"%s"\n' "$token" "$2" "$1" "$3" >>"$dir/tokens.csv"
    local -x KUBECONFIG=$dir/$1.kubeconfig
    kubectl config set-cluster it --server "https://127.0.0.1:$api" --certificate-authority "$dir/ca.crt" --embed-certs
    kubectl config set-credentials it --token "$token"
    kubectl config set-context it --cluster it --user it
    kubectl config use-context it
} >/dev/null

node() {
    cat <<EOF
---
apiVersion: v1
kind: Node
metadata:
  name: node-$1
  annotations: {kwok.x-k8s.io/node: fake}
  labels:
    kubernetes.io/os: linux
    kubernetes.io/arch: arm64
    kubernetes.io/hostname: node-$1
    topology.kubernetes.io/zone: zone-$(($1 % 3))
status:
  allocatable: {cpu: "32", memory: 256Gi, pods: "110"}
  capacity: {cpu: "32", memory: 256Gi, pods: "110"}
EOF
}

disk() {
    cat <<EOF
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk-$1}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  hostPath: {path: /disks/$1}
EOF
}

# What a cloud does: services that ask for a balancer get an address.
addresses() {
    local service
    while sleep 0.5; do
        kubectl get services --all-namespaces --output \
            jsonpath='{range .items[?(@.spec.type=="LoadBalancer")]}{.metadata.namespace} {.metadata.name} {.status.loadBalancer.ingress}{"\n"}{end}' |
            while read -r namespace service ingress; do
                [ -n "$ingress" ] || kubectl patch service "$service" --namespace "$namespace" --subresource status \
                    --patch '{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}'
            done
    done
}

up() {
    dir=$1
    export PATH=$bin:$PATH
    local etcd peers
    read -r etcd peers api <<<"$(free_ports 3)"
    certificates
    : >"$dir/tokens.csv"
    kubeconfig admin admin system:masters
    kubeconfig controllers system:kube-controller-manager ""
    kubeconfig scheduler system:kube-scheduler ""
    kubeconfig kwok kwok system:masters
    export KUBECONFIG=$dir/admin.kubeconfig

    start etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
        --listen-peer-urls "http://127.0.0.1:$peers"
    start api kube-apiserver --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$api" \
        --advertise-address 127.0.0.1 --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16 \
        --tls-cert-file "$dir/api.crt" --tls-private-key-file "$dir/api.key" --cert-dir "$dir" \
        --authorization-mode RBAC --token-auth-file "$dir/tokens.csv" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$dir/accounts.key" --service-account-signing-key-file "$dir/accounts.key"
    until_true 'the API server' 60 kubectl get --raw /readyz || return 1
    start controllers kube-controller-manager --kubeconfig "$dir/controllers.kubeconfig" --leader-elect=false --secure-port 0 \
        --use-service-account-credentials --service-account-private-key-file "$dir/accounts.key" --root-ca-file "$dir/ca.crt"
    start scheduler kube-scheduler --kubeconfig "$dir/scheduler.kubeconfig" --leader-elect=false --secure-port 0
    start kwok kwok --kubeconfig "$dir/kwok.kubeconfig" --manage-all-nodes --node-lease-duration-seconds 40 \
        --config "$bin/stages.yaml" --config "$cluster/stage.yaml"

    start addresses addresses

    kubectl apply --filename "$cluster/objects.yaml" >/dev/null
    for number in $(seq "$nodes"); do node "$number"; done | kubectl create --filename - >/dev/null
    for number in $(seq "$disks"); do disk "$number"; done | kubectl create --filename - >/dev/null
    kubectl wait --for condition=Ready nodes --all --timeout 60s >/dev/null
    until_true 'the first service account' 60 kubectl get serviceaccount default
}

# Nothing of it is kept, so nobody needs time to end; the API server would take a minute.
down() {
    [ "${#running[@]}" = 0 ] || kill -KILL "${running[@]}"
    wait
} 2>/dev/null
