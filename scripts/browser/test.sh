#!/bin/sh
# Opens every page in a headless Chromium, clicks and zooms in it, and keeps pictures of it.
#   scripts/browser/test.sh [folder for pictures and runs]
# Without a Chromium on this machine (Debian: apt-get install chromium) it says "skipped" and succeeds.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-.cache/browser}
go=${GO:-go}
mkdir -p "$out"
rm -rf "$out/runs" "$out/pictures" "$out/traces"
mkdir -p "$out/traces"

"$go" build -o "$out/browser" ./scripts/browser
if ! "$out/browser" -find; then
	exit 0
fi
bench=$out/servebench
"$go" build -o "$bench" ./cmd/servebench

pids=
cleanup() {
	for pid in $pids; do kill "$pid" 2>/dev/null || :; done
}
trap cleanup EXIT INT TERM

# address FILE: waits for the http address that a server prints.
address() {
	for _ in $(seq 100); do
		found=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$1" | head -1) && [ -n "$found" ] && { echo "$found"; return; }
		sleep 0.1
	done
	echo "no server came up: $(cat "$1")" >&2
	exit 1
}

echo "making runs on the simulator"
"$bench" sim --port 0 --profile-dir "$out/traces" --fault share=0.03,status=503,message=overloaded --fault share=0.02,cut=reset@10 \
	--fault freeze=700ms@20,from=200,to=201 >/dev/null 2>"$out/sim.log" &
pids="$pids $!"
"$bench" run scripts/browser/staged.yaml --url "$(address "$out/sim.log")" --trace-dir "$out/traces" --out "$out/runs/staged" >"$out/staged.log" 2>&1 || [ $? = 3 ] # objectives are missed
"$bench" run vllm-torch --sim --set load.requests=300 --set load.rate=40 --out "$out/runs/torch" >"$out/torch.log" 2>&1
"$bench" run vllm-torch --sim --set load.requests=300 --set load.rate=40 --set seed=1 --out "$out/runs/torch2" >"$out/torch2.log" 2>&1
"$bench" run gaudi-e2e-multi --sim --out "$out/runs/gaudi" >"$out/gaudi.log" 2>&1

# A sweep, and a search at each point of another.
"$bench" run scripts/browser/sweep.yaml --sim --out "$out/runs/sweep" >"$out/sweep.log" 2>&1 || :

"$bench" run docs/scenarios/sweep-search.yaml --sim --out "$out/runs/searches" >"$out/searches.log" 2>&1 || :

# The UI that the pages are told of is one of the test's own.
ui=127.0.0.1:$((20000 + $$ % 20000))
"$bench" view "$out/runs" --no-open --perfetto "http://$ui" --idle 15m >/dev/null 2>"$out/view.log" &
pids="$pids $!"
view=$(address "$out/view.log")

set -- -out "$out/pictures" -view "$view" -runs staged,torch,gaudi -compare torch+torch2,staged+torch -perfetto "$ui"
if [ -f "$out/runs/sweep/index.json" ] && [ -f "$out/runs/searches/index.json" ]; then
	set -- "$@" -series sweep,searches,searches/searches/p1-input_len=64
fi
if [ -f "$out/runs/staged/report.html" ]; then
	set -- "$@" -file "$out/runs/staged/report.html"
fi
"$out/browser" "$@"
echo "pictures: $out/pictures"
