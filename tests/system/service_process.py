"""A service that runs as a process of its own."""

import signal
import subprocess
import sys
import time

import httpx2


def start(folder, log, *options):
    """Start a service on any free port; return the process and its port when it is ready."""
    command = [sys.executable, "-m", "mvcn", "serve", str(folder), "--port", "0", *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
    told = process.stderr.readline()
    assert told.startswith("Serving "), told + process.stderr.read()
    port = int(told.split(" (")[0].rsplit(":", 1)[1])
    while not is_ready(port):
        assert process.poll() is None
        time.sleep(0.05)
    return process, port


def is_ready(port):
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/ready", timeout=60).is_success
    except httpx2.HTTPError:
        return False


def stop(process):
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    process.stderr.close()
    return code
