#!/bin/bash
#SBATCH --job-name=vllm-torch
#SBATCH --ntasks=4
#SBATCH --nodes=2
#SBATCH --cpus-per-task=4
#SBATCH --time=1-02:30:00
#SBATCH --partition=gpu
#SBATCH --account=a b
#SBATCH --gres=gpu:8
#SBATCH --output=%x-%j.log
#
# vllm-torch, its load sent by 4 tasks that begin at the same moment, one shard each.

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
load: {requests: 1000, concurrency: 64}
profile:
  traces: ${run}/server-traces
report:
  metrics: [ttft, tpot, itl, e2el]
sim: {profiler: cuda, max_num_seqs: 64}
SCENARIO

# The server, on the first node, with all processors of the job there.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export URL="http://$HEAD:8000"
mkdir -p "$RUN/server-traces" || exit
# vLLM 0.13 and later are told by a flag where to write traces, older ones by the environment.
PROFILER=()
if python3 -c 'import sys; from importlib.metadata import version as v; sys.exit(tuple(map(int, v("vllm").split(".")[:2])) < (0, 13))' 2>/dev/null; then
  PROFILER=(--profiler-config '{"profiler": "torch", "torch_profiler_dir": "'"$RUN"'/server-traces"}')
fi
srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --nodelist="$HEAD" --output="$RUN/server.log" \
  env VLLM_TORCH_PROFILER_DIR="$RUN"/server-traces vllm serve facebook/opt-125m --port 8000 "${PROFILER[@]}" &
SERVER=$!
trap 'kill "$SERVER" 2>/dev/null; wait "$SERVER" 2>/dev/null' EXIT
until curl -fsS --noproxy '*' -o /dev/null "$URL/health" 2>/dev/null; do
  kill -0 "$SERVER" 2>/dev/null || { echo "the server ended before it was ready: see $RUN/server.log" >&2; exit 1; }
  sleep 1
done

# The load. Each task sends its shard: request i is one of shard i mod 4. A task that fails does not end the others.
START=$(date -u -d "+30 seconds" +%Y-%m-%dT%H:%M:%SZ) || exit
srun --overlap --ntasks=4 --cpus-per-task=4 --kill-on-bad-exit=0 --wait=0 --output="$RUN/task-%t.log" \
  bash -c 'exec "$@" --shard "$SLURM_PROCID/$SLURM_NTASKS" --out "$RUN/shard-$SLURM_PROCID"' shard \
  servebench run "$RUN/scenario.yaml" --url "$URL" --start-at "$START" --trace-dir "$RUN/server-traces" --clock-reference time.cluster
LOAD=$?

# The merge names what is missing. What the other tasks recorded is whole all the same.
servebench merge "$RUN"/shard-*/ --out "$RUN/merged"
MERGE=$?

exit $((LOAD > MERGE ? LOAD : MERGE))
