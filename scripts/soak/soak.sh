#!/usr/bin/env bash
# Loads the simulator for a long time and watches what the client holds: memory, descriptors, threads.
#   soak.sh [MINUTES [STREAMS]]
# It fails when a reply fails, when descriptors or threads grow in the last half, or when memory there grows by more than a twentieth. Memory is judged once
# a run is too long to keep every gap: at 500 streams after nine minutes. SOAK_OUT names a folder for the samples and the run; without it they are removed.
set -euo pipefail
command -v python3 >/dev/null && [ -d /proc/self/fd ] || { echo "soak: skipped: it wants Linux and python3"; exit 0; }
minutes=${1:-30} streams=${2:-500}
cd "$(dirname "$0")/../.."
out=${SOAK_OUT:-$(mktemp -d)}
mkdir -p "$out"
pids=()
cleanup() {
  kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  [ -n "${SOAK_OUT:-}" ] || rm -rf "$out"
}
trap cleanup EXIT
bin/servebench sim --port 0 --model soak --any-model --max-num-seqs $((streams + 10)) --first-token 50ms --between-tokens 20ms >"$out/sim.log" 2>&1 &
pids+=($!)
url=
for _ in $(seq 100); do
  url=$(grep -oE 'http://[0-9.:]+' "$out/sim.log" | head -1 || true)
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { echo "soak: the simulator does not start:" >&2; cat "$out/sim.log" >&2; exit 1; }
cat >"$out/soak.yaml" <<YAML
name: soak
model: soak
load: {concurrency: $streams, duration: ${minutes}m}
dataset: {input_len: 100, output_len: 100}
body: {ignore_eos: true}
YAML
bin/servebench run "$out/soak.yaml" --url "$url" --max-failures 0 --out "$out/run" >"$out/report.txt" 2>"$out/progress.txt" &
client=$!
pids+=("$client")
printf 'seconds\trss_kb\tfiles\tthreads\n' >"$out/samples.tsv"
began=$SECONDS
while kill -0 "$client" 2>/dev/null; do
  rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$client/status" 2>/dev/null || true)
  threads=$(awk '/^Threads/ { print $2 }' "/proc/$client/status" 2>/dev/null || true)
  files=$(ls "/proc/$client/fd" 2>/dev/null | wc -l)
  [ -n "$rss" ] && printf '%d\t%d\t%d\t%d\n' $((SECONDS - began)) "$rss" "$files" "$threads" >>"$out/samples.tsv"
  sleep 5
done
status=0
wait "$client" || status=$?
cat "$out/report.txt"
[ "$status" -eq 0 ] || { echo "soak: servebench ended with $status" >&2; tail -20 "$out/progress.txt" >&2; exit 1; }
keeps=yes
grep -q 'too many to keep' "$out/report.txt" && keeps=no
python3 - "$out/samples.tsv" "$minutes" "$streams" "$keeps" <<'PY'
import statistics
import sys

path, minutes, streams = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
rows = [tuple(map(int, line.split())) for line in open(path).read().splitlines()[1:]]
rows = [r for r in rows if 10 <= r[0] <= minutes * 60 - 5]  # while it loads
if len(rows) < 8:
    sys.exit("soak: too short to tell")
print(f"{'minute':>8} {'MB':>8} {'files':>8} {'threads':>8}")
for r in rows[:: max(1, len(rows) // 15)]:
    print(f"{r[0] / 60:8.1f} {r[1] / 1024:8.1f} {r[2]:8d} {r[3]:8d}")
half = rows[len(rows) // 2 :]
third, fourth = half[: len(half) // 2], half[len(half) // 2 :]
grown = []
for name, column, slack in ("memory", 1, 0.05), ("descriptors", 2, 0), ("threads", 3, 0):
    a, b = (statistics.median(r[column] for r in part) for part in (third, fourth))
    print(f"{name}: median of the third quarter {a:g}, of the fourth {b:g} ({(b / a - 1) * 100:+.1f} %)")
    if name == "memory" and sys.argv[4] == "yes":
        print("memory: not judged, the run was so short that it kept every gap to its end")
    elif b > a * (1 + slack) + (1 if column == 3 else 0):
        grown.append(name)
peak = max(r[1] for r in rows)
print(f"peak {peak / 1024:.1f} MB, {streams} streams, {minutes:g} minutes")
if grown:
    sys.exit("soak: grown: " + ", ".join(grown))
PY
