#!/bin/bash
# Checks the manifests that `servebench k8s` prints: strict decoding into the API types of a current Kubernetes release, and that
# release's own OpenAPI schema. Needs no cluster. The modules come through the Go module proxy; says "skipped" where they cannot be had.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 1
BIN=${BIN:-$PWD/bin/servebench}
GO=${GO:-go}
KUBERNETES=v1.37.2

fail() { echo "test-k8s: FAILED: $*" >&2; exit 1; }
[ -x "$BIN" ] || fail "no $BIN: run make build first"

dir=$(cd tools/k8scheck && $GO mod download 2>/dev/null && $GO mod download -json k8s.io/kubernetes@$KUBERNETES 2>/dev/null | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
[ -n "$dir" ] || { echo "test-k8s: skipped: the modules of Kubernetes $KUBERNETES cannot be had"; exit 0; }
check=$(mktemp) || exit 1
trap 'rm -f "$check"' EXIT
(cd tools/k8scheck && $GO build -o "$check" .) || fail "tools/k8scheck does not build"

checked() {
  echo "test-k8s: servebench k8s $*"
  "$BIN" k8s "$@" | "$check" -openapi "$dir/api/openapi-spec/v3" || fail "servebench k8s $*"
}
checked vllm-torch --shards 4 --image registry.example/servebench:1 --url http://vllm:8000
checked vllm-torch --shards 2 --image registry.example/servebench:1 --url http://vllm:8000 --claim shared --namespace bench --name load-1 \
  --one-to-a-node --node pool=clients --node kubernetes.io/arch=amd64 --secret keys --pull-secret pull --pull-policy Always --deadline 2h \
  --trace-dir /results/traces --clock-reference time.example --cpu 2500m --memory 1536Mi
checked gaudi-e2e-multi --shards 3 --image registry.example/servebench:1 --url http://vllm:8080 --storage 200Gi --storage-class nfs.csi --set 'metadata={note: "a: b # c"}'
checked vllm-torch --shards 2 --image registry.example/servebench:1 --url 'https://vllm/a?b=c&d="e"' --secret keys \
  --upload-image registry.example/s3cmd:1 --upload-command 's3cmd sync "$RUN" "s3://bench/shard-$SHARD"'

# What must not pass: the check itself is checked.
spoiled() {
  "$BIN" k8s vllm-torch --shards 2 --image i --url http://vllm:8000 | sed "$1" | "$check" -openapi "$dir/api/openapi-spec/v3" >/dev/null 2>&1 && fail "a manifest spoiled by $1 passed"
}
spoiled 's/backoffLimitPerIndex/backofLimitPerIndex/'
spoiled 's/completions: 2/completions: two/'
spoiled 's/emptyDir/emptyDirectory/'
spoiled 's/restartPolicy: Never/restartPolicy: [Never]/'
spoiled '/^          image:/p'
echo "test-k8s: passed with Kubernetes $KUBERNETES"
