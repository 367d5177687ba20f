# How helm/prove tells what it has seen. To be sourced.

passed=0
told_steps=()
begun=$(date +%s%N)

since() { printf '%d.%01d' $((($(date +%s%N) - $1) / 1000000000)) $((($(date +%s%N) - $1) / 100000000 % 10)); }

# Ends the step before.
step() {
    [ -z "${step_name:-}" ] || told_steps+=("$(printf '%6s s  %s' "$(since "$step_begun")" "$step_name")")
    step_name=$1
    step_begun=$(date +%s%N)
    printf '\n== %s\n' "$1"
}

say() { printf '   %s\n' "$*"; }

pass() {
    passed=$((passed + 1))
    printf 'ok %s\n' "$*"
}

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    kubectl get pods,statefulsets,deployments,pvc --all-namespaces --output wide >&2 || true
    kubectl get events --all-namespaces --sort-by .lastTimestamp 2>/dev/null | tail -n 20 >&2 || true
    exit 1
}

# What it is, command: must succeed.
does() {
    local what=$1 told
    shift
    told=$("$@" 2>&1) || fail "$what: $told"
    if grep -q 'would violate PodSecurity' <<<"$told"; then fail "$what: $told"; fi
    pass "$what"
}

# What it is, words, command: must fail with these words.
refuses() {
    local what=$1 words=$2 told
    shift 2
    if told=$("$@" 2>&1); then fail "$what is accepted"; fi
    grep -qF -- "$words" <<<"$told" || fail "$what: refused, but not with \`$words\`: $told"
    pass "$what is refused: $words"
}

# What it is, value, command: must print the value.
is() {
    local what=$1 wanted=$2 told
    shift 2
    told=$("$@" 2>&1) || fail "$what: $told"
    [ "$told" = "$wanted" ] || fail "$what: \`$told\`, not \`$wanted\`"
    pass "$what: $wanted"
}

# As `is`, as soon as it is so, within 60 s.
becomes() {
    local what=$1 wanted=$2 deadline=$((SECONDS + 60)) told
    shift 2
    while told=$("$@" 2>&1) || true; [ "$told" != "$wanted" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what: \`$told\`, and not \`$wanted\` within 60 s"
        sleep 0.2
    done
    pass "$what: $wanted"
}

# One value out of JSON, by Python's words.
jq_() { python3 -c 'import json, sys; print(json.load(sys.stdin)'"$1"')'; }

# helm without what it tells of the links in the charts.
helm() { command helm "$@" 2> >(grep -v 'found symbolic link' >&2 || true); }

# One field of an object: kind/name, path.
field() { kubectl get "$1" --output "jsonpath={$2}"; }

# Names of the pods of a release, in one line.
pods() { kubectl get pods --selector "app.kubernetes.io/instance=$1" --output name --sort-by .metadata.name | sed 's|pod/||' | paste -sd ' '; }

gone() { [ -z "$(kubectl get all,pdb,hpa,networkpolicies,roles,rolebindings,configmaps,secrets --selector "app.kubernetes.io/instance=$1" --output name)" ]; }

report() {
    step end
    printf '\n'
    printf '%s\n' "${told_steps[@]}"
    printf 'charts on Kubernetes: %s passed, 0 failed, in %s s\n' "$passed" "$(since "$begun")"
}
