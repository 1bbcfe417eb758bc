#!/bin/sh
# Opens slices, thinned, merged and converted traces with other people's programs: Chrome's trace viewer in a headless Chromium, and
# Perfetto's own bindings for its protobuf. Each has to find what the text holds, without an error.
#   scripts/trace/browser.sh [folder to work in]
# SERVEBENCH_TEST_TRACES names a folder of real traces; without it, the recorded ones of the tests are used. What cannot run on this machine
# says "skipped" and succeeds: Chromium (Debian: apt-get install chromium), and the Python packages torch-tb-profiler and perfetto.
set -eu
cd "$(dirname "$0")/../.."
out=$(mkdir -p "${1:-.cache/trace}" && cd "${1:-.cache/trace}" && pwd)
go=${GO:-go}
rm -rf "$out/files"
mkdir -p "$out/files"

chromium=
for name in chromium chromium-browser google-chrome google-chrome-stable; do
	if command -v "$name" >/dev/null; then chromium=$name; break; fi
done

python=$out/venv/bin/python
if ! "$python" -c 'import perfetto, torch_tb_profiler' 2>/dev/null; then
	# Of torch-tb-profiler only the viewer is wanted, not what it needs to run.
	if ! { python3 -m venv "$out/venv" && "$out/venv/bin/pip" install -q perfetto && "$out/venv/bin/pip" install -q --no-deps torch-tb-profiler; } >"$out/pip.log" 2>&1; then
		echo "skipped: the Python packages perfetto and torch-tb-profiler could not be installed ($out/pip.log)"
		exit 0
	fi
fi

bench=$out/servebench
"$go" build -o "$bench" ./cmd/servebench

traces=${SERVEBENCH_TEST_TRACES:-profiles/breakdown/testdata}
for src in "$traces"/*.json*; do
	name=$(basename "$src" | sed 's/\.json.*//; s/\.pt\.trace//')
	case $name in frontend) continue ;; esac
	echo "$name"
	at=$out/files/$name
	"$bench" trace convert "$src" -o "$at.whole.json.gz"
	"$bench" trace slice "$src" --around slowest-step -o "$at.slice.json.gz" 2>/dev/null || "$bench" trace slice "$src" --window 1ms..500ms -o "$at.slice.json.gz" 2>/dev/null
	"$bench" trace thin "$src" --target "$(($(wc -c <"$src") / 2))" -o "$at.thin.json.gz" 2>/dev/null
	"$bench" trace merge "$src" -o "$at.joined.json.gz"
done

# A request in each, and the requests of a run in the trace of the server.
if [ -n "${SERVEBENCH_TEST_TRACES:-}" ]; then
	SERVEBENCH_KEEP_MERGED=$out/files "$go" test -count=1 -run TestMergeIntoTracesOfAccelerators ./profiles/merge >"$out/merge.log" || { cat "$out/merge.log"; exit 1; }
fi
"$bench" run gaudi-e2e-multi --sim --out "$out/files/run" >"$out/run.log" 2>&1
cp "$out/files/run/merged.trace.json.gz" "$out/files/run.merged.json.gz"

status=0
set --
for text in "$out"/files/*.json.gz; do
	"$bench" trace convert "$text" --to perfetto -o "${text%.json.gz}.pftrace"
	set -- "$@" "$text" "${text%.json.gz}.pftrace"
done
echo "Perfetto's bindings"
"$python" scripts/trace/native.py "$@" || status=1
if [ -z "$chromium" ]; then
	echo "skipped: no Chromium on this machine"
else
	echo "Chrome's trace viewer"
	"$python" scripts/trace/viewer.py "$chromium" "$out"/files/*.json.gz || status=1
fi
exit $status
