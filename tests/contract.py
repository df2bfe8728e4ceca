#!/usr/bin/env python3
"""Starts the real binary on the demo helpdesk and lets Schemathesis compare it with its own /openapi.json.

    tests/contract.py TARGET_FOLDER

Requests go to a loopback port that the system picks; the process is stopped by its id, whatever happens.
"""

import pathlib
import subprocess
import sys
import tempfile
import urllib.request
import venv

SCHEMATHESIS = "schemathesis==4.32.5"
MAX_EXAMPLES = "15"
SEED = "20261125"

# A caller may ask for a deadline of two milliseconds, and is told that it passed.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]
"""


def schemathesis(target):
    """The tool, in a virtual environment of its own below the target folder."""
    folder = target / "contract-venv"
    tool = folder / "bin" / "schemathesis"
    if not tool.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", SCHEMATHESIS], check=True)
    return tool


def main():
    target = pathlib.Path(sys.argv[1]).resolve()
    binary = target / "debug" / "triage"
    tool = schemathesis(target)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = ["--data-dir", folder]
        config = pathlib.Path(folder) / "schemathesis.toml"
        config.write_text(CONFIG)
        subprocess.run([binary, *data_dir, "demo", "--no-serve"], check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(
            [binary, *data_dir, "serve", "--bind", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        try:
            address = server.stdout.readline().strip()
            urllib.request.urlopen(f"{address}/livez").read()
            checked = subprocess.run(
                [
                    tool, "--config-file", config, "run", f"{address}/openapi.json",
                    "--max-examples", MAX_EXAMPLES,
                    "--seed", SEED,
                    "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                                "response_schema_conformance,response_headers_conformance",
                    "--phases", "examples,coverage,fuzzing",
                    "--request-timeout", "30",
                    "--exclude-path", "/v1/models/train",
                    "--no-color",
                ],
                # The tool keeps a cache where it runs.
                cwd=folder,
            )
            alive = urllib.request.urlopen(f"{address}/livez").status == 200 and server.poll() is None
        finally:
            server.terminate()
            try:
                server.wait(timeout=40)
            except subprocess.TimeoutExpired:
                server.kill()
        if checked.returncode != 0 or not alive:
            sys.exit("the service does not do what its /openapi.json says")


if __name__ == "__main__":
    main()
