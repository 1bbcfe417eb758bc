"""Writes conversations.jsonl: what vLLM's multi-turn script makes of specs. Run in this folder with the folder of the script
(benchmarks/multi_turn of vLLM 0.33) as the argument; needs transformers, numpy, pandas."""
import hashlib, json, os, sys

sys.path.insert(0, sys.argv[1])
os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
from bench_dataset import generate_conversations, parse_input_json_file
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("../../testdata/golden/tokenizers/llama3")
constant = lambda v: {"distribution": "constant", "value": v}
uniform = lambda a, b: {"distribution": "uniform", "min": a, "max": b}


def spec(n, turns, tokens, prefix, output, common=None, files=("../../LICENSE",)):
    s = {"filetype": "generate_conversations", "num_conversations": n, "text_files": list(files), "print_stats": False,
         "prompt_input": {"num_turns": turns, "prefix_num_tokens": prefix, "num_tokens": tokens}, "prompt_output": {"num_tokens": output}}
    if common:
        s["prompt_input"]["common_prefix_num_tokens"] = common
    return s


specs = [
    (0, spec(3, uniform(2, 8), uniform(30, 60), constant(0), uniform(5, 20))),
    (1, spec(4, uniform(3, 7), uniform(40.5, 70.25), {"distribution": "lognormal", "average": 60, "max": 150}, {"distribution": "poisson", "alpha": 14, "max": 30}, constant(50))),
    (7, spec(5, {"distribution": "zipf", "alpha": 1.7, "max": 9}, {"distribution": "poisson", "alpha": 45}, uniform(1, 40), {"distribution": "zipf", "alpha": 2.5, "max": 50}, uniform(10, 20))),
    (42, spec(6, {"distribution": "poisson", "alpha": 3.5}, {"distribution": "lognormal", "mean": 3.6, "sigma": 0.4, "max": 90}, {"distribution": "poisson", "alpha": 8}, {"distribution": "lognormal", "average": 12, "median_ratio": 0.6}, None, ("../../LICENSE", "../../LICENSE"))),
    (12345, spec(2, constant(1), constant(3), constant(25), constant(0.4))),
    (3, spec(30, uniform(2, 4), constant(40), {"distribution": "lognormal", "average": 20, "median_ratio": 0.3, "max": 60}, constant(7.9), {"distribution": "lognormal", "average": 33})),
]
with open("conversations.jsonl", "w") as out:
    for seed, s in specs:
        np.random.seed(seed)
        made = generate_conversations(parse_input_json_file(s), tokenizer)
        talks = [{"id": k, "messages": len(v), "sha256": hashlib.sha256("\0".join(m["content"] for m in v).encode()).hexdigest(),
                  "first": v[0]["content"][:160], "tokens": [len(tokenizer(m["content"], add_special_tokens=False).input_ids) for m in v]} for k, v in made.items()]
        out.write(json.dumps({"seed": seed, "spec": s, "conversations": talks}, ensure_ascii=False) + "\n")
