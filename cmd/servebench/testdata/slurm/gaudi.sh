#!/bin/bash
#SBATCH --job-name=gaudi-e2e-multi
#SBATCH --ntasks=2
#SBATCH --nodes=1
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#
# gaudi-e2e-multi, its load sent by 2 tasks that begin at the same moment, one shard each.

set -uo pipefail
module load habana

# All nodes must see this folder.
export RUN='/scratch/$USER/it'\''s here'
mkdir -p "$RUN" || exit
cat > "$RUN/scenario.yaml" <<'SCENARIO' || exit
name: gaudi-e2e-multi
about: >-
  vLLM on Gaudi, end to end, many requests: four prompts of 128 tokens at once, four tokens each, bracketed by the profiler.
server:
  before:
  # Left out (--set server.before=[]) when hardware traces are wanted.
  - hl-prof-config --use-template profile_api --hw-trace off
  command: >-
    python3 -m vllm.entrypoints.openai.api_server --port 8080 --model facebook/opt-125m --tensor-parallel-size 1 --max-num-seqs
    128 --dtype bfloat16 --max-model-len 256
  env:
    HABANA_PROFILE: "1"
    VLLM_PROFILER_ENABLED: full
    VLLM_TORCH_PROFILER_DIR: ${run}/server-traces
    VLLM_PROMPT_SEQ_BUCKET_MAX: "128"
    VLLM_PROMPT_SEQ_BUCKET_MIN: "128"
    # Newer plugins call them so.
    VLLM_PROMPT_QUERY_BUCKET_MAX: "128"
    VLLM_PROMPT_QUERY_BUCKET_MIN: "128"
  url: http://127.0.0.1:8080
model: facebook/opt-125m
backend: vllm
body: {ignore_eos: true}
load:
  requests: 4
  concurrency: 4
  rate: inf
profile:
  traces: ${run}/server-traces
  unverified: [hl-prof-config --hw-trace off, HABANA_PROFILE=1, VLLM_PROFILER_ENABLED=full, prompt buckets of 128]
report:
  metrics: [ttft, tpot, itl, e2el]
sim: {profiler: gaudi, max_num_seqs: 128}
# Exactly 128 tokens in and 4 out: the guide's --random-range-ratio 1.0, in the meaning it had when the guide was written.
dataset: {name: random, input_len: 128, output_len: 4, range_ratio: 1.0, legacy_range_ratio: true}
SCENARIO

# The server, on the first node, with all processors of the job there.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export URL="http://$HEAD:8080"
srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --nodelist="$HEAD" env HABANA_PROFILE=1 VLLM_PROFILER_ENABLED=full VLLM_PROMPT_QUERY_BUCKET_MAX=128 VLLM_PROMPT_QUERY_BUCKET_MIN=128 VLLM_PROMPT_SEQ_BUCKET_MAX=128 VLLM_PROMPT_SEQ_BUCKET_MIN=128 VLLM_TORCH_PROFILER_DIR="$RUN"/server-traces hl-prof-config --use-template profile_api --hw-trace off || exit
mkdir -p "$RUN/server-traces" || exit
# vLLM 0.13 and later are told by a flag where to write traces, older ones by the environment.
PROFILER=()
if python3 -c 'import sys; from importlib.metadata import version as v; sys.exit(tuple(map(int, v("vllm").split(".")[:2])) < (0, 13))' 2>/dev/null; then
  PROFILER=(--profiler-config '{"profiler": "torch", "torch_profiler_dir": "'"$RUN"'/server-traces"}')
fi
srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --nodelist="$HEAD" --output="$RUN/server.log" \
  env HABANA_PROFILE=1 VLLM_PROFILER_ENABLED=full VLLM_PROMPT_QUERY_BUCKET_MAX=128 VLLM_PROMPT_QUERY_BUCKET_MIN=128 VLLM_PROMPT_SEQ_BUCKET_MAX=128 VLLM_PROMPT_SEQ_BUCKET_MIN=128 VLLM_TORCH_PROFILER_DIR="$RUN"/server-traces python3 -m vllm.entrypoints.openai.api_server --port 8080 --model facebook/opt-125m --tensor-parallel-size 1 --max-num-seqs 128 --dtype bfloat16 --max-model-len 256 "${PROFILER[@]}" &
SERVER=$!
trap 'kill "$SERVER" 2>/dev/null; wait "$SERVER" 2>/dev/null' EXIT
until curl -fsS --noproxy '*' -o /dev/null "$URL/health" 2>/dev/null; do
  kill -0 "$SERVER" 2>/dev/null || { echo "the server ended before it was ready: see $RUN/server.log" >&2; exit 1; }
  sleep 1
done

# The load. Each task sends its shard: request i is one of shard i mod 2. A task that fails does not end the others.
START=$(date -u -d "+30 seconds" +%Y-%m-%dT%H:%M:%SZ) || exit
srun --overlap --ntasks=2 --cpus-per-task=4 --kill-on-bad-exit=0 --wait=0 --output="$RUN/task-%t.log" \
  bash -c 'exec "$@" --shard "$SLURM_PROCID/$SLURM_NTASKS" --out "$RUN/shard-$SLURM_PROCID"' shard \
  /opt/bin/servebench run "$RUN/scenario.yaml" --url "$URL" --start-at "$START" --trace-dir "$RUN/server-traces"
LOAD=$?

# The merge names what is missing. What the other tasks recorded is whole all the same.
/opt/bin/servebench merge "$RUN"/shard-*/ --out "$RUN/merged"
MERGE=$?

exit $((LOAD > MERGE ? LOAD : MERGE))
