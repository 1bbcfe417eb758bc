"""Runs each load generator against the paced server and holds what it reports against the server's log.

The server stamps every write in the kernel and takes the request's arrival from the kernel. A tool's error is what it
reports less what was true: of the mean TTFT, of the 99th percentile of TTFT and of the gaps between tokens. Cost is the processor
time and the largest resident memory of all processes of the tool together, start-up included.
"""
import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

HERE, VLLM, LEVELS = sys.argv[1], sys.argv[2], [int(n) for n in sys.argv[3:]]
TOKENS, INPUT = 100, 100
TOKENIZER = os.path.join(VLLM, "models", "tiny-opt")


def percentile(values, p):
    values = sorted(values)
    at = (len(values) - 1) * p / 100
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def truth(url):
    ttft, gaps, first, late = [], [], None, []
    for line in urllib.request.urlopen(url + "/log"):
        r = json.loads(line)
        if not r["received_ns"] or len(r["sent_ns"]) < TOKENS - 5 or None in r["sent_ns"]:
            first = min(first or r["received_ns"], r["received_ns"]) if r["received_ns"] else first
            continue
        first = min(first or r["received_ns"], r["received_ns"])
        sent = r["sent_ns"]
        ttft.append((sent[0] - r["received_ns"]) / 1e6)
        gaps += [(b - a) / 1e6 for a, b in zip(sent, sent[1:])]
        late += [(b - d) / 1e6 for b, d in zip(r["before_ns"], r["due_ns"])]
    return ttft, gaps, first, late


def tree(root):
    """The process ids of root's process group and descendants, with their resident bytes and processor seconds."""
    parents, stats = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(name)] = int(fields[1])
        stats[int(name)] = (int(fields[11]) + int(fields[12])) / 100, int(fields[21]) * 4096
    found = {root}
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return {p: stats[p] for p in found if p in stats}
        found |= more


def measure(command, env, log):
    began = time.time_ns()
    with open(log, "w") as out:
        p = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
    memory, cpu = 0, {}
    deadline = time.time() + 600
    while True:
        pid, status, usage = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        now = tree(p.pid)
        memory = max(memory, sum(rss for _, rss in now.values()))
        cpu.update({k: seconds for k, (seconds, _) in now.items()})
        if time.time() > deadline:
            os.killpg(p.pid, 9)
        time.sleep(0.1)
    # What wait4 counts holds the children that were waited for; those that were not were seen in /proc.
    seconds = max(usage.ru_utime + usage.ru_stime, sum(cpu.values()))
    return began, os.waitstatus_to_exitcode(status), seconds, max(memory, usage.ru_maxrss * 1024)


def servebench(url, n, prompts, out):
    yield [HERE + "/servebench", "bench", "serve", "--backend", "openai", "--base-url", url, "--model", "paced", "--tokenizer", TOKENIZER,
           "--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(TOKENS), "--num-prompts", str(prompts),
           "--max-concurrency", str(n), "--disable-tqdm", "--out", out + "/run"]
    r = json.load(open(out + "/run/report.json"))
    by = {(d["metric"], d["basis"]): d for d in r["latency"]}
    client = r["client"]
    yield (by["ttft", "service"]["mean"], by["ttft", "service"]["percentiles"]["99"], by["itl", "service"]["percentiles"]["99"],
           f'says of itself: TTFT ± {client.get("ttft_error_p99_ms", float("nan")):.3f}, ITL ± {client.get("itl_error_p99_ms", float("nan")):.3f}, {client["verdict"]}')


def vllm(url, n, prompts, out):
    yield [VLLM + "/venv/bin/vllm", "bench", "serve", "--backend", "openai", "--base-url", url, "--model", "paced", "--tokenizer", TOKENIZER,
           "--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(TOKENS), "--num-prompts", str(prompts),
           "--max-concurrency", str(n), "--disable-tqdm", "--percentile-metrics", "ttft,itl", "--save-result", "--result-dir", out]
    r = json.load(open(glob.glob(out + "/*.json")[0]))
    yield r["mean_ttft_ms"], r["p99_ttft_ms"], r["p99_itl_ms"], ""


def vllm_rust(url, n, prompts, out):
    yield [HERE + "/vllm-bench/bin/vllm-bench", "--backend", "openai", "--base-url", url, "--model", "paced", "--tokenizer", TOKENIZER,
           "--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(TOKENS), "--num-prompts", str(prompts),
           "--max-concurrency", str(n), "--disable-tqdm", "--percentile-metrics", "ttft,itl", "--save-result", "--result-dir", out]
    r = json.load(open(glob.glob(out + "/*.json")[0]))
    yield r["mean_ttft_ms"], r["p99_ttft_ms"], r["p99_itl_ms"], ""


def aiperf(url, n, prompts, out):
    yield [HERE + "/aiperf/bin/aiperf", "profile", "--model", "paced", "--url", url, "--endpoint-type", "completions", "--streaming",
           "--concurrency", str(n), "--request-count", str(prompts), "--tokenizer", TOKENIZER, "--prompt-input-tokens-mean", str(INPUT),
           "--extra-inputs", f"max_tokens:{TOKENS}", "--ui", "none", "--artifact-dir", out + "/a"]
    r = json.load(open(glob.glob(out + "/a/**/profile_export_aiperf.json", recursive=True)[0]))
    gap = r.get("inter_chunk_latency") or {}
    yield r["time_to_first_token"]["avg"], r["time_to_first_token"]["p99"], gap.get("p99"), "" if gap else "keeps no gaps"


def guidellm(url, n, prompts, out):
    yield [HERE + "/guidellm/bin/guidellm", "run", "--backend", f"kind=openai_http,target={url},model=paced,request_format=/v1/completions",
           "--profile", f"kind=concurrent,streams={n}", "--constraint", f"kind=max_requests,count={prompts}",
           "--data", f"kind=synthetic_text,prompt_tokens={INPUT},output_tokens={TOKENS}",
           "--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}", "--output", f"kind=json,path={out}/g.json", "--disable-progress"]
    r = json.load(open(out + "/g.json"))["benchmarks"][0]["metrics"]
    ttft, itl = r["time_to_first_token_ms"]["successful"], r["inter_token_latency_ms"]["successful"]
    yield ttft["mean"], ttft["percentiles"]["p99"], None, f'keeps no gaps, means of requests only (p99 {itl["percentiles"]["p99"]:.2f} ms)'


def genai_bench(url, n, prompts, out):
    yield [HERE + "/genai-bench/bin/genai-bench", "benchmark", "--api-backend", "vllm", "--api-base", url, "--api-key", "none", "--api-model-name", "paced",
           "--task", "text-to-text", "--model-tokenizer", TOKENIZER, "--num-concurrency", str(n), "--traffic-scenario", f"D({INPUT},{TOKENS})",
           "--max-requests-per-run", str(prompts), "--max-time-per-run", "10", "--metrics-time-unit", "ms", "--log-dir", out,
           "--experiment-base-dir", out, "--experiment-folder-name", "g"]
    r = json.load(open(glob.glob(out + "/g/D*.json")[0]))["aggregated_metrics"]
    ttft = r["stats"]["ttft"]
    yield ttft["mean"], ttft["p99"], None, "over chat; keeps no gaps"


def inference_perf(url, n, prompts, out):
    config = out + "/config.json"  # which is YAML too
    json.dump({
        "api": {"type": "completion", "streaming": True},
        "data": {"type": "random", "input_distribution": dict(type="fixed", min=INPUT, max=INPUT, mean=INPUT, std_dev=0),
                 "output_distribution": dict(type="fixed", min=TOKENS, max=TOKENS, mean=TOKENS, std_dev=0)},
        "load": {"type": "concurrent", "stages": [{"num_requests": prompts, "concurrency_level": n}]},
        "server": {"type": "vllm", "model_name": "paced", "base_url": url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": TOKENIZER},
        "storage": {"local_storage": {"path": out + "/i"}},
    }, open(config, "w"))
    yield [HERE + "/inference-perf/bin/inference-perf", "-c", config]
    r = json.load(open(out + "/i/summary_lifecycle_metrics.json"))["successes"]["latency"]
    ttft, itl = r["time_to_first_token"], r["inter_token_latency"]
    yield ttft["mean"] * 1e3, ttft["p99"] * 1e3, itl["p99"] * 1e3, ""


TOOLS = {"servebench": servebench, "vllm bench serve": vllm, "vllm-bench (Rust)": vllm_rust, "aiperf": aiperf, "guidellm": guidellm,
         "genai-bench": genai_bench, "inference-perf": inference_perf}
PLACES = {"vllm bench serve": VLLM + "/venv/bin/vllm", "vllm-bench (Rust)": HERE + "/vllm-bench/bin/vllm-bench"}
PLACES |= {name: f"{HERE}/{name}/ok" for name in ("aiperf", "guidellm", "genai-bench", "inference-perf")}


def main():
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    print(f"{cpu.group(1) if cpu else 'unknown processor'}, {os.cpu_count()} processors that tool and server share, Linux {os.uname().release}, "
          f"load before {os.getloadavg()[0]:.2f}")
    print(f"server: 50 ms to the first token, 20 ms between tokens, {TOKENS} tokens; two requests a stream")
    head = "| streams | tool | mean TTFT error (ms) | p99 TTFT error | p99 ITL error | CPU s per million events | memory (MB) | exec to first request (s) | server late p99 (ms) | |"
    print(head + "\n" + "|---" * (head.count("|") - 1) + "|", flush=True)
    for n in LEVELS:
        for name, tool in TOOLS.items():
            if name in PLACES and not os.path.exists(PLACES[name]):
                print(f"| {n} | {name} | not installed |", flush=True)
                continue
            one(n, name, tool)


def one(n, name, tool):
    server = subprocess.Popen([HERE + "/pacedserver", "-listen", "127.0.0.1:0", "-first", "50ms", "-gap", "20ms", "-tokens", str(TOKENS), "-force-tokens"],
                              stdout=subprocess.PIPE, text=True)
    out = os.path.join(HERE, "out", f"{re.sub('[^a-z-]+', '-', name)}-{n}")
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    try:
        url = "http://" + server.stdout.readline().split()[-1]
        steps = tool(url, n, 2 * n, out)
        env = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", DO_NOT_TRACK="1", VLLM_NO_USAGE_STATS="1", OPENAI_API_KEY="")
        if name == "aiperf":  # takes a folder for a repository's name when it is told to stay offline
            del env["HF_HUB_OFFLINE"], env["TRANSFORMERS_OFFLINE"]
        began, status, seconds, memory = measure(next(steps), env, out + "/log")
        ttft, gaps, first, late = truth(url)
        if not ttft:
            print(f"| {n} | {name} | no reply, exit {status}: {out}/log |", flush=True)
            return
        try:
            mean, p99, itl, note = next(steps)
        except Exception as e:  # a report that is not there or reads otherwise than known
            print(f"| {n} | {name} | no figures, exit {status} ({e!r}): {out}/log |", flush=True)
            return
        events = len(gaps) + len(ttft)
        gap = f"{itl - percentile(gaps, 99):+.3f}" if itl is not None else "-"
        print(f"| {n} | {name} | {mean - sum(ttft) / len(ttft):+.3f} | {p99 - percentile(ttft, 99):+.3f} | {gap} | {seconds / events * 1e6:.1f} | "
              f"{memory / 1e6:.0f} | {(first - began) / 1e9:.2f} | {percentile(late, 99):.2f} | {note} |", flush=True)
    finally:
        server.terminate()
        server.wait()


main()
