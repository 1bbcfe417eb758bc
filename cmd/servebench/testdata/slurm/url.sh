#!/bin/bash
#SBATCH --job-name=vllm-torch
#SBATCH --ntasks=3
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#
# vllm-torch, its load sent by 3 tasks that begin at the same moment, one shard each.

set -uo pipefail

# All nodes must see this folder.
export RUN="$PWD/runs/$SLURM_JOB_NAME-$SLURM_JOB_ID"
mkdir -p "$RUN" || exit
cat > "$RUN/scenario.yaml" <<'SCENARIO' || exit
name: vllm-torch
about: >-
  vLLM on CUDA, ROCm or a CPU: many requests under the torch profiler. Name a model that fits with --set model=... and the
  same in server.command.
server:
  command: vllm serve facebook/opt-125m --port 8000
  env:
    # For vLLM before 0.13; later ones get --profiler-config.
    VLLM_TORCH_PROFILER_DIR: ${run}/server-traces
  url: http://127.0.0.1:8000
model: facebook/opt-125m
backend: vllm
dataset: {name: random, input_len: 128, output_len: 16}
body: {ignore_eos: true}
load: {requests: 9, concurrency: 4}
profile:
  traces: ${run}/server-traces
report:
  metrics: [ttft, tpot, itl, e2el]
sim: {profiler: cuda, max_num_seqs: 64}
SCENARIO

export URL=http://inference:8000

# The load. Each task sends its shard: request i is one of shard i mod 3. A task that fails does not end the others.
START=$(date -u -d "+30 seconds" +%Y-%m-%dT%H:%M:%SZ) || exit
srun --overlap --ntasks=3 --cpus-per-task=4 --kill-on-bad-exit=0 --wait=0 --output="$RUN/task-%t.log" \
  bash -c 'exec "$@" --shard "$SLURM_PROCID/$SLURM_NTASKS" --out "$RUN/shard-$SLURM_PROCID"' shard \
  servebench run "$RUN/scenario.yaml" --url "$URL" --start-at "$START" --trace-dir /mnt/traces
LOAD=$?

# The merge names what is missing. What the other tasks recorded is whole all the same.
servebench merge "$RUN"/shard-*/ --out "$RUN/merged"
MERGE=$?

exit $((LOAD > MERGE ? LOAD : MERGE))
