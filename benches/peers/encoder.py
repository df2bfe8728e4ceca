"""The encoder against other stacks: one core and two, every variant once a round in random order.

Throughput is over all demo texts, latency is one text of a fixed number of tokens. The variants called "forward" get
their token ids for nothing; sentence-transformers and triage read text.
"""
import array
import json
import math
import os
import random
import statistics
import subprocess
import time

from common import (HERE, LENGTHS, MAX_TOKENS, PREFIX, WORK, Problem, busy_cores, checked, demo_texts, environment,
                    pinned, say, stop, write_jsonl)

ST = "sentence-transformers f32"
TORCH = "torch f32"
ORT = "onnxruntime f32"
ORT_INT8 = ("onnxruntime int8 per tensor", "onnxruntime int8 per channel")
PYTHON = (ST, TORCH, "torch bf16", ORT, *ORT_INT8)
TRIAGE = {
    "triage int8": (["--precision", "int8"], {}),
    "triage int8, AVX2": (["--precision", "int8"], {"TRIAGE__EMBED__KERNEL": "avx2"}),
    "triage exact": (["--precision", "exact"], {}),
}
WIDTH = 384
SEED = 1
PAUSE = 0.3
"""Seconds between two turns, so that spinning threads of one variant have gone to sleep."""
LISTEN = 0.2
"""Seconds after that in which the work of others on the machine is measured."""


def vector_file(variant):
    """Where the vectors of a variant are written: little-endian float32 rows in the order of the texts."""
    return WORK / "vectors" / (variant.replace(",", "").replace(" ", "-") + ".f32")


def read_vectors(variant):
    """The vectors of a variant, scaled to length one, or nothing where it wrote none."""
    path = vector_file(variant)
    if not path.exists():
        return None
    values = array.array("f", path.read_bytes())
    rows = [values[start:start + WIDTH] for start in range(0, len(values), WIDTH)]
    return [[value / math.hypot(*row) for value in row] for row in rows]


def cosines(variant, reference):
    """Mean and lowest cosine to the reference vectors, or nothing."""
    rows = read_vectors(variant)
    if rows is None:
        return None
    if len(rows) != len(reference):
        raise Problem(f"{variant} wrote {len(rows)} vectors for {len(reference)} texts; every text needs one row.")
    products = [sum(map(float.__mul__, row, other)) for row, other in zip(rows, reference)]
    return {"mean": statistics.fmean(products), "lowest": min(products)}


class Worker:
    """A Python variant in a process of its own that waits for orders."""

    def __init__(self, python, variant, threads, cores, job):
        command = pinned(cores, [python, HERE / "encoder_worker.py", variant, threads, job])
        self.variant = variant
        with (WORK / "worker.log").open("a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            text=True, env=environment(threads))
        try:
            self.tokens = self.answer()["tokens"]
        except BaseException:
            stop(self.process)
            raise

    def answer(self):
        """The next JSON line."""
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise Problem(f"The process of {self.variant} has ended; target/peers/worker.log says why.")

    def ask(self, order):
        """Sends an order and waits for its answer."""
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.answer()

    def turn(self):
        """Throughput and latency of one round."""
        return {**self.ask("round"), "latency_ms": self.ask("latency")}

    def close(self):
        stop(self.process)


class Triage:
    """The binary, started anew every round."""

    def __init__(self, binary, variant, threads, cores, takes_vectors):
        flags, extra = TRIAGE[variant]
        self.command = pinned(cores, [binary, "bench", "embed", "--json", "--threads", threads, "--input",
                                      WORK / "texts.jsonl", *flags])
        if takes_vectors:
            self.command += ["--vectors", str(vector_file(variant))]
        self.environment = {**environment(threads), **extra}
        self.variant = variant
        self.tokens = None

    def turn(self):
        """Throughput and latency of one round, as the binary measures them itself."""
        answer = json.loads(checked(self.command, "Build the binary with `cargo build --release`.",
                                    env=self.environment))
        self.tokens = answer["tokens"]
        return answer

    def close(self):
        pass


def takes_vectors(binary):
    """Whether the binary has `bench embed` at all, and whether that writes its vectors."""
    return "--vectors" in checked([binary, "bench", "embed", "--help"],
                                  "Build a binary that has it with `cargo build --release`.")


def write_inputs(texts, calls):
    """Texts for the binary (without the prefix) and the job of the Python workers. Gives the job's path."""
    (WORK / "vectors").mkdir(parents=True, exist_ok=True)
    write_jsonl(WORK / "texts.jsonl", [{"id": str(i), "body": text} for i, text in enumerate(texts)])
    job = WORK / "job.json"
    job.write_text(json.dumps({"texts": [PREFIX + text for text in texts], "lengths": LENGTHS, "calls": calls,
                               "vectors": {name: str(vector_file(name)) for name in PYTHON}}))
    return job


def same_tokens(variants):
    """Stops unless every variant read the same number of tokens. Gives that number."""
    counts = {variant.variant: variant.tokens for variant in variants}
    if len(set(counts.values())) != 1:
        raise Problem(f"The variants read different numbers of tokens, so their speeds cannot be compared: {counts}. "
                      f"Each should cut the text to {MAX_TOKENS} tokens, prefix and marks included.")
    return next(iter(counts.values()))


def rounds_of(variants, rounds, threads):
    """Per variant a list of what every round gave, and the work of others; the order within a round is random."""
    chance = random.Random(SEED)
    results = {variant.variant: [] for variant in variants}
    others = []
    for number in range(1, rounds + 1):
        order = list(variants)
        chance.shuffle(order)
        for variant in order:
            time.sleep(PAUSE)
            others.append(busy_cores(LISTEN))
            results[variant.variant].append(variant.turn())
        say(f"encoder, {threads} thread{'s' * (threads > 1)}: round {number} of {rounds} done")
    return results, statistics.fmean(others)


def median_of(rounds, name):
    return statistics.median(one[name] for one in rounds)


def ratio(rounds, base, name):
    """Median over the rounds of the quotient within a round."""
    return statistics.median(a[name] / b[name] for a, b in zip(rounds, base))


def summary(results, reference):
    """One record per variant: medians, ratios and cosines."""
    fastest = max(ORT_INT8, key=lambda name: median_of(results[name], "tokens_per_second"))
    bases = {"sentence-transformers": ST, "onnxruntime int8": fastest, "onnxruntime f32": ORT}
    out = []
    for variant, rounds in results.items():
        row = {"variant": variant, "kernel": rounds[-1].get("kernel")}
        for name in ("tokens_per_second", "tokens_per_cpu_second"):
            row[name] = median_of(rounds, name)
            row[name + "_ratio_to"] = {base: ratio(rounds, results[other], name) for base, other in bases.items()}
        lengths = [str(n) for n in LENGTHS if all(str(n) in one["latency_ms"] for one in rounds)]
        row["latency_ms"] = {n: statistics.median(one["latency_ms"][n] for one in rounds) for n in lengths}
        row["cosine_to_torch_f32"] = cosines(variant, reference)
        out.append(row)
    return out, fastest


def measure(python, binary, threads, rounds, texts, calls):
    """Part A for one number of threads."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    if len(cores) < threads:
        raise Problem(f"{threads} threads were asked for and this process may use {len(cores)} cores; "
                      "give fewer with --threads.")
    texts = demo_texts(texts)
    job = write_inputs(texts, calls)
    with_vectors = takes_vectors(binary)
    for old in (WORK / "vectors").iterdir():
        old.unlink()
    variants = []
    try:
        for name in PYTHON:
            say(f"encoder: starting {name}")
            variants.append(Worker(python, name, threads, cores, job))
        variants += [Triage(binary, name, threads, cores, with_vectors) for name in TRIAGE]
        for variant in variants[len(PYTHON):]:
            variant.turn()
        tokens = same_tokens(variants)
        results, others = rounds_of(variants, rounds, threads)
    finally:
        for variant in variants:
            variant.close()
    rows, fastest = summary(results, read_vectors(TORCH))
    return {"threads": threads, "cores": cores, "rounds": rounds, "texts": len(texts), "tokens": tokens,
            "cores_busy_with_other_work": others, "fastest_onnxruntime_int8": fastest, "variants": rows,
            "each_round": results}
