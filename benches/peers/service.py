"""The whole call against a Python stack of the same parts: server on one core, client on another.

Each round starts each server anew, in random order: seconds until ready, then one client, then eight, then its memory.
Every request carries a text of its own, so that nothing is answered out of a cache.
"""
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from common import (DEMO, DEPARTMENTS, HERE, MODEL, ROOT, WORK, Problem, busy_cores, checked, environment, pinned,
                    read_jsonl, say, stop, write_jsonl)

TICKETS = WORK / "tickets.jsonl"
DATA = WORK / "triage-data"
CLIENTS = (1, 8)
WARM_UP = 20
READY_SECONDS = 120
REQUEST_SECONDS = 60
LISTEN = 0.5
"""Seconds before each turn in which the work of others on the machine is measured."""
SEED = 1


def shuffled(text, chance):
    """The sentences and lines of a text in another order."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part]
    chance.shuffle(parts)
    return " ".join(parts)


def write_tickets(count):
    """Resolved IT tickets: the demo ones again and again, their sentences shuffled."""
    chance = random.Random(SEED)
    demo = read_jsonl(DEMO / "it/tickets.jsonl")
    fields = ("subject", "department", "status", "labels", "resolution")
    records = []
    for number in range(count):
        source = demo[number % len(demo)]
        records.append({"id": f"P-{number + 1}", "body": shuffled(source["body"], chance),
                        **{name: source[name] for name in fields}})
    write_jsonl(TICKETS, records)


def questions(count, seed):
    """Waiting tickets of every department, each with its sentences in an order of its own."""
    chance = random.Random(seed)
    waiting = [ticket for name in DEPARTMENTS for ticket in read_jsonl(DEMO / name / "waiting.jsonl")]
    sources = [waiting[number % len(waiting)] for number in range(count)]
    return [{"id": f"Q-{number}", "subject": ticket["subject"], "body": shuffled(ticket["body"], chance)}
            for number, ticket in enumerate(sources)]


def fresh(path, stamp):
    """Whether what lies there was made from the same things."""
    return path.exists() and path.read_text() == stamp


def prepare_triage(binary):
    """Imports the tickets and trains on them, unless this binary has done so already."""
    stamp = hashlib.sha256(TICKETS.read_bytes() + binary.read_bytes()).hexdigest()
    mark = WORK / "triage-data.stamp"
    if fresh(mark, stamp):
        return
    mark.unlink(missing_ok=True)
    shutil.rmtree(DATA, ignore_errors=True)
    hint = "The binary must be a release build of this checkout."
    for step in (["taxonomy", "load", "--department", "it", DEMO / "it/taxonomy.json"],
                 ["import", "tickets", TICKETS, "--department", "it"],
                 ["train", "--department", "it"]):
        say(f"service: triage {step[0]} …")
        checked([binary, "--data-dir", DATA, "--model", MODEL, *step], hint, cwd=ROOT)
    mark.write_text(stamp)


def prepare_stack(python):
    """Builds the indexes of the Python stack, unless they are there already."""
    stamp = hashlib.sha256(TICKETS.read_bytes() + (HERE / "stack.py").read_bytes()
                           + (WORK / "export.stamp").read_bytes()).hexdigest()
    mark = WORK / "stack.stamp"
    if fresh(mark, stamp):
        return
    mark.unlink(missing_ok=True)
    say("service: Python stack, embedding and indexing …")
    checked([python, HERE / "stack.py", "prepare", TICKETS], "Compare the versions in requirements.txt.",
            env=environment(len(os.sched_getaffinity(0))))
    mark.write_text(stamp)


class Server:
    """A server under test: how it is started and asked."""

    def __init__(self, name, command, path, envelope):
        self.name, self.command, self.path, self.envelope = name, command, path, envelope
        self.process = self.address = None

    def start(self, core):
        """Starts it on one core. Gives the seconds until it says that it is ready."""
        begun = time.perf_counter()
        with (WORK / "server.log").open("a") as log:
            self.process = subprocess.Popen(pinned([core], self.command), stdout=subprocess.PIPE, stderr=log, text=True,
                                            env=environment(1), cwd=ROOT)
        line = self.process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not found:
            raise Problem(f"{self.name} printed no address but {line!r}; target/peers/server.log says why.")
        self.address = ("127.0.0.1", int(found.group(1)))
        while not self.ready():
            if self.process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                raise Problem(f"{self.name} did not become ready; target/peers/server.log says why.")
            time.sleep(0.005)
        return time.perf_counter() - begun

    def ready(self):
        """Whether /readyz answers 200."""
        connection = http.client.HTTPConnection(*self.address, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def bodies(self, tickets):
        """The bytes of a request for each ticket."""
        return [json.dumps(self.envelope(ticket)).encode() for ticket in tickets]

    def memory(self):
        """Resident MiB, now and at most."""
        with open(f"/proc/{self.process.pid}/status") as lines:
            values = dict(line.split(":", 1) for line in lines)
        return {"rss_mib": int(values["VmRSS"].split()[0]) / 1024, "peak_mib": int(values["VmHWM"].split()[0]) / 1024}

    def stop(self):
        if self.process:
            stop(self.process)
            self.process = None


def servers(python, binary):
    """The two stacks."""
    return [
        Server("triage", [binary, "--data-dir", DATA, "--model", MODEL, "serve", "--bind", "127.0.0.1:0"], "/v1/triage",
               lambda ticket: {"department": "it", "ticket": ticket, "options": {"record": False, "similar": 5}}),
        Server("Python stack", [python, HERE / "stack.py", "serve"], "/triage", lambda ticket: ticket),
    ]


def one_client(server, waiting, lock):
    """Asks until no request is left, over one connection. Gives the seconds of each answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=REQUEST_SECONDS)
    taken = []
    try:
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return taken
            begun = time.perf_counter()
            connection.request("POST", server.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            taken.append(time.perf_counter() - begun)
            if answer.status != 200:
                raise Problem(f"{server.name} answered {answer.status}: {content[:200]!r}; "
                              "compare the request in service.py with openapi.json.")
    finally:
        connection.close()


def closed_loop(server, bodies, clients):
    """Sends every body once from so many clients, each waiting for its answer. Milliseconds and requests a second."""
    waiting, lock = iter(bodies), threading.Lock()
    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        runs = [pool.submit(one_client, server, waiting, lock) for _ in range(clients)]
        taken = sorted(1000 * seconds for run in runs for seconds in run.result())
    wall = time.perf_counter() - begun
    return {"requests_per_second": len(bodies) / wall, "p50_ms": statistics.median(taken),
            "p99_ms": taken[min(len(taken) - 1, int(0.99 * len(taken)))]}


def turn(server, core, requests, seed):
    """One server in one round, from its start to its end."""
    try:
        out = {"ready_seconds": server.start(core)}
        closed_loop(server, server.bodies(questions(WARM_UP, seed)), 1)
        for clients in CLIENTS:
            bodies = server.bodies(questions(requests, f"{seed} {clients}"))
            out.update({f"{name}_{clients}": value for name, value in closed_loop(server, bodies, clients).items()})
        return {**out, **server.memory()}
    finally:
        server.stop()


def measure(python, binary, rounds, tickets, requests):
    """Part B."""
    cores = sorted(os.sched_getaffinity(0))
    write_tickets(tickets)
    prepare_triage(binary)
    prepare_stack(python)
    stacks = servers(python, binary)
    results = {server.name: [] for server in stacks}
    chance, others = random.Random(SEED), []
    os.sched_setaffinity(0, {cores[-1]})
    try:
        for number in range(1, rounds + 1):
            for server in chance.sample(stacks, len(stacks)):
                others.append(busy_cores(LISTEN))
                results[server.name].append(turn(server, cores[0], requests, f"round {number}"))
            say(f"service: round {number} of {rounds} done")
    finally:
        os.sched_setaffinity(0, cores)
    rows = [{"server": name, **{key: statistics.median(one[key] for one in each) for key in each[0]}}
            for name, each in results.items()]
    return {"server_core": cores[0], "client_core": cores[-1], "rounds": rounds, "tickets": tickets,
            "requests": requests, "cores_busy_with_other_work": statistics.fmean(others), "servers": rows,
            "each_round": results}
