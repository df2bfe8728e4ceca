"""Paths, demo texts and small helpers that every part shares. Needs the standard library alone."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benches/peers"
MODEL = ROOT / "models/e5-small-de-en"
DEMO = ROOT / "training-data/demo"
WORK = ROOT / "target/peers"
EXPORTED = WORK / "model"
DEPARTMENTS = ("it", "hr", "facilities", "finance")
PREFIX = "query: "
MAX_TOKENS = 256
BATCH = 32
LENGTHS = (16, 90, 256, 512)


class Problem(Exception):
    """Something that the person at the keyboard has to solve; the text says how."""


def read_jsonl(path):
    """The records of a JSON Lines file."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write_jsonl(path, records):
    """Writes records as JSON Lines."""
    with open(path, "w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def text_of(ticket):
    """Subject and body, one text without the prefix."""
    return ticket["subject"] + "\n" + ticket["body"]


def demo_texts(limit=None):
    """The texts of the demo tickets of every department, without the prefix."""
    tickets = [t for name in DEPARTMENTS for t in read_jsonl(DEMO / name / "tickets.jsonl")]
    return [text_of(ticket) for ticket in tickets[:limit]]


def environment(threads):
    """Environment in which every numeric library uses `threads` threads and nothing is downloaded."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    env = {name: str(threads) for name in names}
    env["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    env["HF_HUB_OFFLINE"] = "1"
    env["TRANSFORMERS_VERBOSITY"] = "error"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return {**os.environ, **env}


def pinned(cores, command):
    """The command, held to a list of cores."""
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


def checked(command, hint, **options):
    """Runs a command and gives its standard output; stops with its last lines and the hint where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise Problem(f"`{' '.join(map(str, command))}` ended with {done.returncode}. {hint}\n{last}")
    return done.stdout


def stop(process, seconds=20):
    """Ends one process of ours, first politely."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def busy_cores(seconds):
    """Cores' worth of work on the whole machine while this process sleeps; above nought, something else runs too."""
    def idle():
        with open("/proc/stat") as lines:
            values = [int(value) for value in lines.readline().split()[1:]]
        return (values[3] + values[4]) / os.sysconf("SC_CLK_TCK")

    begun, before = time.perf_counter(), idle()
    time.sleep(seconds)
    return max(0.0, os.cpu_count() - (idle() - before) / (time.perf_counter() - begun))


def say(text):
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
