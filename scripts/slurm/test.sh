#!/bin/bash
# Runs shards on a real Slurm cluster of two nodes, both on this machine: two slurmd with ports, spool and pid files of their own.
#
# 1. four tasks send the load of one scenario to the simulator; merged, they are the run that one process makes of it;
# 2. one task of four is killed: the job fails, the merge names it, and what the others recorded is whole.
#
# Needs root (slurmd starts tasks for others) and Debian's packages, which it installs where they are missing; says "skipped" without.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 1
BIN=${BIN:-$PWD/bin/servebench}

skip() { echo "test-slurm: skipped: $*"; exit 0; }
fail() { echo "test-slurm: FAILED: $*" >&2; exit 1; }
say() { echo "test-slurm: $*"; }

[ -x "$BIN" ] || fail "no $BIN: run make build first"
[ "$(id -u)" = 0 ] || skip "it must run as root"
programs=(slurmctld slurmd munged mungekey sbatch zstd curl)
missing() { for p in "${programs[@]}"; do command -v "$p" >/dev/null || return 0; done; return 1; }
if missing; then
  command -v apt-get >/dev/null || skip "${programs[*]} are not all here, and there is no apt-get to install them"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slurmctld slurmd slurm-client munge zstd curl; } >/dev/null 2>&1
  missing && skip "Debian's packages slurmctld, slurmd, munge, zstd and curl cannot be had"
fi

T=$(mktemp -d /tmp/servebench-slurm.XXXXXX) || exit 1
chmod 755 "$T"
PIDS=()
NODES="servebench-n1 servebench-n2"
cleanup() {
  status=$?
  [ -e "$T/slurm.conf" ] && timeout 20 scancel --me 2>/dev/null
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null; done
  hosts=$(grep -v "$NODES" /etc/hosts) && printf '%s\n' "$hosts" > /etc/hosts
  if [ $status = 0 ]; then rm -rf "$T"; else echo "test-slurm: everything is in $T" >&2; fi
}
trap cleanup EXIT

# munge, as its own user.
install -d -o munge -g munge -m 755 "$T/munge"
mungekey --create --keyfile="$T/munge/key" --bits=1024 && chown munge:munge "$T/munge/key" || fail "mungekey"
setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --key-file="$T/munge/key" --socket="$T/munge/socket" \
  --pid-file="$T/munge/pid" --log-file="$T/munge/log" --seed-file="$T/munge/seed" 2>"$T/munge/err" &
PIDS+=($!)
for _ in $(seq 50); do [ -S "$T/munge/socket" ] && break; sleep 0.1; done
munge --socket="$T/munge/socket" -n | unmunge --socket="$T/munge/socket" >/dev/null || fail "munge: $(cat "$T/munge/err" "$T/munge/log")"

# The cluster. The nodes have more processors than the machine: the tasks are small.
grep -q "$NODES" /etc/hosts || echo "127.0.0.1 $NODES" >> /etc/hosts
port() { python3 - 2>/dev/null <<'P' || echo $((20000 + RANDOM % 10000))
import socket
s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])
P
}
export SLURM_CONF=$T/slurm.conf
cat > "$SLURM_CONF" <<CONF
ClusterName=servebench
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$T/munge/socket
StateSaveLocation=$T/state
SlurmctldPidFile=$T/slurmctld.pid
SlurmctldLogFile=$T/slurmctld.log
SlurmdSpoolDir=$T/spool-%n
SlurmdPidFile=$T/slurmd-%n.pid
SlurmdLogFile=$T/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
MinJobAge=300
NodeName=servebench-n1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$(port) CPUs=4 State=UNKNOWN
NodeName=servebench-n2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$(port) CPUs=4 State=UNKNOWN
PartitionName=test Nodes=servebench-n1,servebench-n2 Default=YES MaxTime=INFINITE State=UP
CONF
mkdir -p "$T/state"
slurmctld -D -f "$SLURM_CONF" 2>"$T/slurmctld.err" &
PIDS+=($!)
for node in $NODES; do
  slurmd -D -N "$node" -f "$SLURM_CONF" 2>"$T/$node.err" &
  PIDS+=($!)
done
idle() { [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ]; }
for _ in $(seq 120); do idle && break; sleep 0.5; done
idle || fail "the nodes do not come up: $(sinfo 2>&1; tail -n 5 "$T"/*.err "$T"/slurm*.log)"
say "$(sinfo -V), two nodes: $(sinfo -h -N -o '%N %T' | paste -sd, | sed 's/,/, /')"

cd "$T" || exit 1
SIM=$(port)
scenario() { cat <<YAML
name: $1
seed: 7
server:
  command: [$BIN, sim, --host, 0.0.0.0, --port, "$SIM", --model, m, --first-token, 20ms, --between-tokens, 5ms]
  url: http://127.0.0.1:$SIM
  ready_within: 1m
model: m
tokenizer: none
dataset: {name: random, input_len: 24, output_len: 8, range_ratio: 0.5}
body: {request_id_prefix: $1-, ignore_eos: true}
load: $2
YAML
}

# What was planned, a line a request: id, request id, prompt's and answer's length, and when it was due after the first one.
planned() {
  local line id rid in ask due first=
  while read -r line; do
    [[ $line =~ ^\{\"id\":([0-9]+),\"rid\":\"([^\"]*)\" ]] || continue
    id=${BASH_REMATCH[1]} rid=${BASH_REMATCH[2]}
    [[ $line =~ \"in\":([0-9]+) ]] && in=${BASH_REMATCH[1]}
    [[ $line =~ \"ask\":([0-9]+) ]] && ask=${BASH_REMATCH[1]}
    [[ $line =~ \"due\":([0-9]+) ]] && due=${BASH_REMATCH[1]}
    : "${first:=$due}"
    echo "$id $rid in $in ask $ask due $((due - first)) $([[ $line == *'"fail"'* ]] && echo failed || echo ok)"
  done < <(zstd -dcq "$1/records.jsonl.zst" | grep -v '"kind"' | sort -t: -k2,2n)
}

# 1. Four shards are the single run.
scenario whole '{requests: 80, rate: 20}' > whole.yaml
"$BIN" run whole.yaml --out single >single.out 2>single.err || fail "the single run: $(tail -n 5 single.err)"
"$BIN" slurm whole.yaml --ntasks 4 --nodes 2 --cpus-per-task 1 --start-in 10s --time 5m --servebench "$BIN" \
  --setup "srun bash -c 'echo task \$SLURM_PROCID on \$SLURMD_NODENAME'" > whole.sh || fail "no script"
bash -n whole.sh || fail "the script is no bash"
sbatch --wait whole.sh >sbatch.out; status=$?
job=$(sed -n 's/.*job //p' sbatch.out)
RUN=runs/whole-$job
cat "whole-$job.log"
[ $status = 0 ] || fail "the job ended with $status: $(tail -n 3 $RUN/task-*.log)"
[ "$(grep -c '^task [0-3] on servebench-n[12]$' "whole-$job.log")" = 4 ] || fail "four tasks were to run"
[ "$(grep '^task' "whole-$job.log" | sort -u -k4 | wc -l)" = 2 ] || fail "two nodes were to take part"
planned single > single.txt
planned "$RUN/merged" > merged.txt
[ "$(wc -l < single.txt)" = 80 ] || fail "the single run has $(wc -l < single.txt) requests of 80"
diff single.txt merged.txt || fail "the merged run is not the single one"
"$BIN" verify "$RUN/merged" "$RUN"/shard-*/ || fail "verify"
say "four shards on two nodes, merged: 80 requests with the ids, lengths and due times of the single run"

# 2. One task is killed.
scenario killed '{requests: 400, rate: 40}' > killed.yaml
"$BIN" slurm killed.yaml --ntasks 4 --nodes 2 --cpus-per-task 1 --start-in 5s --time 5m --servebench "$BIN" > killed.sh || fail "no script"
job=$(sbatch --parsable killed.sh) || fail "sbatch"
RUN=runs/killed-$job
victim() { for p in /proc/[0-9]*; do tr '\0' ' ' 2>/dev/null < "$p/cmdline" | grep -q "^$BIN run .*$T/$RUN/shard-2 *$" && echo "${p#/proc/}"; done; }
for _ in $(seq 300); do grep -q '"began_ns"' "$RUN/shard-2/manifest.json" 2>/dev/null && break; sleep 0.1; done
# Once its first segment is in the file, seconds after the common start.
for _ in $(seq 300); do [ -s "$RUN/shard-2/records.jsonl.zst" ] && break; sleep 0.1; done
pid=$(victim)
[ -n "$pid" ] && kill -9 $pid || fail "no task to kill: $(tail -n 3 $RUN/task-2.log)"
say "task 2 of job $job killed (process $pid)"
state() { scontrol show job "$job" | sed -n "s/.*$1=\([^ ]*\).*/\1/p"; }
for _ in $(seq 600); do case $(state JobState) in RUNNING|COMPLETING|PENDING) sleep 0.1 ;; *) break ;; esac; done
cat "killed-$job.log"
say "job $job: $(state JobState), exit code $(state ExitCode)"
[ "$(state JobState)" = FAILED ] && [ "$(state ExitCode)" = 137:0 ] || fail "the job was to fail with the killed task's status"
grep -q "shard 2/4 .*is not whole: the run ended without its last line" "killed-$job.log" || fail "the merge does not name shard 2/4"
"$BIN" verify $RUN/shard-{0,1,3} || fail "the other shards are not whole"
[ "$(for k in 0 1 3; do planned $RUN/shard-$k; done | wc -l)" = 300 ] || fail "the other shards have not sent all of their requests"
"$BIN" verify $RUN/shard-2 && fail "verify calls the killed shard whole"
"$BIN" merge $RUN/shard-*/ --out $RUN/partial --allow-missing > partial.out 2> partial.err
status=$?
[ $status = 1 ] || fail "the partial merge ended with $status, not 1"
grep -q "shard 2/4 .*is not whole" partial.out || fail "the partial report does not say so"
say "the job failed, the merge named shard 2/4, the others are whole"
say "passed"
