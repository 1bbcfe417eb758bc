"""Writes libm.txt, streams.json and statistics.txt: what NumPy and the C library give."""
import hashlib, json, math, random, struct, sys
import numpy as np, gmpy2
from gmpy2 import mpfr

gmpy2.set_context(gmpy2.context(precision=53))
rnd = random.Random(5)


def sha(values, kind):
    return hashlib.sha256(np.asarray(values, dtype=kind).tobytes()).hexdigest()


with open("libm.txt", "w") as out:
    xs = [5e-324, 2.5e-310, 1e-300, 0.1, 0.9375, 0.93749, 1.0, 1 - 2**-53, 1 + 2**-52, 1.0644, 1.0645, 2.0, math.e, 1e9, 1.7e308]
    xs += [rnd.random() for _ in range(100)] + [0.93 + 0.14 * rnd.random() for _ in range(100)]
    while len(xs) < 500:  # where correct rounding would differ
        x = rnd.random() * rnd.choice([1, 1, 1, 1e-3, 1e3])
        if float(gmpy2.log(mpfr(x))) != math.log(x):
            xs.append(x)
    for x in xs:
        out.write(f"log {x.hex()} {math.log(x).hex()}\n")
    ps = [(0.5, 20.0), (1e-300, 1.03), (5e-324, 0.5), (1e-200, 1.6), (0.3, 600.0), (0.3, 620.0), (2.0, 1023.5), (2.0, 1024.0), (0.999, 1e-20), (0.7, -3.3)]
    ps += [(rnd.random(), 1 / rnd.uniform(0.001, 1)) for _ in range(200)]
    while len(ps) < 500:
        x, y = rnd.random() * rnd.choice([1, 1, 50]), rnd.choice([1 / rnd.uniform(0.01, 1), rnd.random()])
        z = math.pow(x, y)
        if z > 1e-300 and float(mpfr(x) ** mpfr(y)) != z:
            ps.append((x, y))
    for x, y in ps:
        try:
            z = math.pow(x, y)
        except OverflowError:
            z = math.inf
        out.write(f"pow {x.hex()} {y.hex()} {z.hex()}\n")

streams = {}
for seed in [0, 1, 7, 42, 12345, 2**31, 2**32 - 1]:
    s = streams[str(seed)] = {}
    r = np.random.RandomState(seed)
    s["legacy_uniform"] = sha(r.random_sample(5000), "<f8")
    s["legacy_normal"] = sha(r.standard_normal(5001), "<f8")
    for shape in [0.01, 0.05, 0.3, 0.99, 1.0, 1.01, 2.5, 17.0, 1000.0]:
        s[f"legacy_gamma {shape}"] = sha(r.gamma(shape, 0.37, 3000), "<f8")
    s["legacy_exponential"] = sha(r.exponential(0.37, 3000), "<f8")
    for n in [1, 2, 3, 1000, 50257, 2**32, 2**40]:
        s[f"legacy_ints {n}"] = sha(r.randint(0, n, 1000), "<i8")
    s["legacy_permutation"] = sha(r.permutation(1000), "<i8")
    s["legacy_choice"] = sha(r.choice(1000, 10, replace=False), "<i8")
    s["legacy_choice_replace"] = sha(r.choice(10, 1000), "<i8")
    s["legacy_range"] = sha(r.uniform(2.5, 80.25, 1000), "<f8")
    s["legacy_lognormal"] = sha([v for m, d in [(0.1, 2.0), (6.745, 0.5701), (3.0, 0.0), (9.5, 1.25)] for v in r.lognormal(m, d, 3001)], "<f8")
    s["legacy_zipf"] = sha([v for a in [1.05, 1.2, 2.0, 3.7, 30.0] for v in r.zipf(a, 2000)], "<i8")
    s["legacy_poisson"] = sha([v for a in [0.0, 0.3, 1.0, 9.99, 10.0, 12.5, 100.0, 2500.0, 1e6] for v in r.poisson(a, 3000)], "<i8")
    g = np.random.default_rng(seed)
    for n in [1, 2, 3, 1000, 50257, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 7]:
        s[f"generator_ints {n}"] = sha(g.integers(0, n, 999), "<i8")
    s["generator_uniform"] = sha(g.random(999), "<f8")
    s["generator_bytes"] = sha(g.integers(0, 256, 4999, dtype=np.uint8), "u1")
    s["generator_weighted"] = sha([g.choice(5, p=[0.1, 0.15, 0.25, 0.3, 0.2]) for _ in range(500)], "<i8")
    s["generator_permutation"] = sha(g.permutation(1000), "<i8")
    p = random.Random(seed)
    s["python_uniform"] = sha([p.random() for _ in range(2000)], "<f8")
    x = list(range(1000))
    p.shuffle(x)
    s["python_shuffle"] = sha(x, "<i8")
    s["python_randrange"] = sha([p.randrange(n) for n in [1, 2, 3, 4, 1000, 2**31, 2**33 + 1] for _ in range(100)], "<i8")
    s["python_bits"] = sha([p.getrandbits(k) for k in [1, 7, 31, 32, 33, 53, 63]], "<i8")
    s["python_choices"] = sha(p.choices(range(777), k=1000), "<i8")
json.dump(streams, open("streams.json", "w"), indent=1)

with open("statistics.txt", "w") as out:
    for seed, n in enumerate([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 63, 64, 100, 127, 128, 129, 130, 136, 255, 256, 257, 1000, 1023, 4096, 5003, 20000]):
        a = np.random.default_rng(seed).random(n)
        a = a * a * 3
        v = [a.sum(), np.mean(a), np.std(a), np.median(a)] + [np.percentile(a, p) for p in (0, 1, 25, 33.3, 50, 90, 95, 99, 99.9, 100)]
        out.write(f"{seed} {n} " + " ".join(float(x).hex() for x in v) + "\n")
