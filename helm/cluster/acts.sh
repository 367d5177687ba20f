# What helm/prove does with both charts. To be sourced.

# Each set of values that helm/check renders comes up, is tested, and goes without a trace.
every_set() {
    local values set
    for values in "$1"/ci/*.yaml; do
        set=$(basename "$values" .yaml)
        does "$set: install" helm install one "$1" --values "$values" --wait --timeout 2m
        does "$set: helm test (faked pod)" helm test one
        does "$set: uninstall" helm uninstall one --wait
        becomes "$set: nothing is left" yes eval 'gone one && echo yes'
    done
}

# Each set that is to be refused is refused before anything is made.
every_refusal() {
    local values
    for values in "$1"/ci/refused/*.yaml; do
        # The words are those for a release of this name.
        refuses "$(basename "$values" .yaml)" "$(sed -n '1s/^# refused: //p' "$values")" helm install release "$1" --values "$values"
    done
    is 'releases that were made' '' helm list --short
}

# Notes a number of an object for as long as it changes; `fewest` gives the least of it.
watched() {
    kubectl get "$1" --watch --output "jsonpath={$2}{'\n'}" >"$work/watched" &
    watcher=$!
    running+=("$watcher")
    until_true 'the first value' 30 test -s "$work/watched"
}

fewest() {
    kill "$watcher"
    grep . "$work/watched" | sort -n | head -1
}

evict() {
    printf '{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "%s"}}' "$1" |
        kubectl create --raw "/api/v1/namespaces/$ns/pods/$1/eviction" --filename -
}

# Release, how many may go: with no node to go to, so many of its pods can be evicted and no more.
one_at_a_time() {
    local evicted=0 pod
    kubectl cordon --selector kubernetes.io/os=linux >/dev/null
    for pod in $(pods "$1"); do
        if [ "$evicted" = "$2" ]; then
            refuses "evicting another pod of $1" "disruption budget" evict "$pod"
            break
        fi
        does "evicting a pod of $1" evict "$pod"
        evicted=$((evicted + 1))
    done
    kubectl uncordon --selector kubernetes.io/os=linux >/dev/null
    becomes "pods of $1 that run" "$(pods "$1" | wc -w)" eval \
        "kubectl get pods --selector app.kubernetes.io/instance=$1 --field-selector status.phase=Running --output name | wc -l"
}

# What an account may do in its namespace beyond what everybody may: asking for its own rights, and what the API offers.
rights() {
    kubectl auth can-i --list --no-headers --as "system:serviceaccount:$ns:$1" |
        grep -v -e '^selfsubject' -e '\[/' | sed 's/  */ /g' || true
}
