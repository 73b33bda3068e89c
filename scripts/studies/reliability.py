"""Put a service under load and faults; writes results/reliability.json.

Run from the repository's root: ``python -m scripts.studies.reliability RUN``. Each measurement is a
function of a run folder; one that is not repeated stays as it is in the file.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import typer

from mvcn.data.synthetic import generate_posts
from scripts import results

CLIENTS = 200
FEW_CLIENTS = 20
LOAD_SECONDS = 60.0
EARLY_SECONDS = 10.0
STOP_AFTER_SECONDS = 10.0
HALF_OPEN = 50
HEAD_SECONDS = 10
SLOW_SECONDS = 20.0
POSTS = 32
LOST = "lost"
NOT_ACCEPTED = "not accepted"
MEGABYTE = 1e6
PERCENTILES = (50, 95, 99)


@dataclass
class Service:
    """A service in its own process."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Address of the service."""
        return f"http://127.0.0.1:{self.port}"

    def memory_mb(self) -> float:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE

    def stop(self) -> float:
        """Ask the process to end; return how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        return time.monotonic() - began

    def statuses(self) -> Counter[str]:
        """Return how many requests for predictions the log says were answered, by status."""
        lines = map(json.loads, self.log.read_text("utf-8").splitlines())
        return Counter(str(one["status"]) for one in lines if one.get("path") == "/predict")


@dataclass
class Seen:
    """What clients saw: the outcome of each request, and the seconds of the answered ones."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """Return plain values."""
        spread = np.percentile(self.seconds, PERCENTILES) if self.seconds else []
        return {
            "requests": sum(self.outcomes.values()),
            "outcomes": dict(sorted(self.outcomes.items())),
            "lost": self.outcomes[LOST],
            "latency_ms": {
                f"p{share}": round(1000 * float(value))
                for share, value in zip(PERCENTILES, spread, strict=False)
            },
        }


@contextmanager
def running(run: Path, *options: str) -> Iterator[Service]:
    """Serve a run on a free port until the block ends."""
    command = [sys.executable, "-m", "mvcn", "serve", str(run), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        announced = process.stderr.readline()
        service = Service(process, int(announced.split(" (")[0].rsplit(":", 1)[1]), log)
        try:
            while not _is_ready(service):
                time.sleep(0.1)
            yield service
        finally:
            process.terminate()
            process.wait(120)


def measure_load(run: Path) -> dict[str, Any]:
    """Let 200 clients ask at once for a minute, each again as soon as it is answered or refused."""
    with running(run) as service:
        memory = {}
        with _asking(service, CLIENTS) as seen:
            time.sleep(EARLY_SECONDS)
            memory["early"] = service.memory_mb()
            time.sleep(LOAD_SECONDS - EARLY_SECONDS)
            memory["end"] = service.memory_mb()
        stop_seconds = service.stop()
        logged = service.statuses()
    answered = seen.outcomes["200"]
    return {
        "clients": CLIENTS,
        "seconds": LOAD_SECONDS,
        **seen.numbers(),
        "posts_per_second": round(answered / LOAD_SECONDS, 1),
        "refused_share": round(seen.outcomes["429"] / max(1, sum(seen.outcomes.values())), 4),
        "memory_mb_after_10_s": round(memory["early"], 1),
        "memory_mb_at_the_end": round(memory["end"], 1),
        "logged": dict(sorted(logged.items())),
        "stop_seconds": round(stop_seconds, 2),
    }


def measure_stop(run: Path) -> dict[str, Any]:
    """Send SIGTERM while clients ask; compare what they heard with what the service logged."""
    with running(run) as service:
        with _asking(service, CLIENTS) as seen:
            time.sleep(STOP_AFTER_SECONDS)
            stop_seconds = service.stop()
        logged = service.statuses()
    return {
        "clients": CLIENTS,
        **seen.numbers(),
        "logged": dict(sorted(logged.items())),
        "stop_seconds": round(stop_seconds, 2),
        "exit_code": service.process.returncode,
    }


def measure_slow_clients(run: Path) -> dict[str, Any]:
    """Hold 50 connections with half a head each, while a few clients ask as usual."""
    with running(run, "--head-seconds", str(HEAD_SECONDS)) as service, ExitStack() as opened:
        without = _ask_for(service, SLOW_SECONDS)
        slow = [opened.enter_context(_half_open(service)) for _ in range(HALF_OPEN)]
        with_slow = _ask_for(service, SLOW_SECONDS)
        closed = sum(map(_is_closed, slow))
    return {
        "half_open": HALF_OPEN,
        "head_seconds": HEAD_SECONDS,
        "closed": closed,
        "clients": FEW_CLIENTS,
        "without": without.numbers(),
        "with_half_open": with_slow.numbers(),
    }


def _is_ready(service: Service) -> bool:
    try:
        return httpx2.get(f"{service.url}/ready", timeout=60).is_success
    except httpx2.HTTPError:
        return False


def _ask_for(service: Service, seconds: float) -> Seen:
    with _asking(service, FEW_CLIENTS) as seen:
        time.sleep(seconds)
    return seen


@contextmanager
def _asking(service: Service, count: int) -> Iterator[Seen]:
    """Let clients ask until the block ends; what they saw is complete only then."""
    forms, done, seen = _forms(), threading.Event(), Seen()
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(_ask, service, forms[n % POSTS], done) for n in range(count)]
        yield seen
        done.set()
    for one in asked:
        seen.outcomes += one.result().outcomes
        seen.seconds += one.result().seconds


def _forms() -> Sequence[Mapping[str, Any]]:
    posts = [one.post for one in generate_posts(POSTS, seed=0)]
    return [{"data": {"text": post.text}, "files": {"image": post.image}} for post in posts]


def _ask(service: Service, form: Mapping[str, Any], done: threading.Event) -> Seen:
    """Ask again and again over one connection, until the end or until the service is gone."""
    seen = Seen()
    with httpx2.Client(base_url=service.url, timeout=120) as client:
        while not done.is_set():
            began = time.monotonic()
            try:
                answer = client.post("/predict", **form)
            except httpx2.ConnectError:
                seen.outcomes[NOT_ACCEPTED] += 1
                return seen
            except httpx2.HTTPError:
                seen.outcomes[LOST] += 1
                continue
            seen.outcomes[str(answer.status_code)] += 1
            if answer.is_success:
                seen.seconds.append(time.monotonic() - began)
            else:
                done.wait(float(answer.headers.get("retry-after", 1)))
    return seen


def _half_open(service: Service) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", service.port))
    client.sendall(b"POST /predict HTTP/1.1\r\nHost:")
    return client


def _is_closed(client: socket.socket) -> bool:
    client.settimeout(0.1)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


MEASUREMENTS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "load": measure_load,
    "stop_under_load": measure_stop,
    "slow_clients": measure_slow_clients,
}


def main(
    run: Annotated[Path, typer.Argument(help="Run folder to serve.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(MEASUREMENTS)}, or several; all by default."),
    ] = None,
) -> None:
    """Measure, and write each number as soon as it is known."""
    content = results.read("reliability")
    if unknown := {*(only or ())} - {*MEASUREMENTS}:
        raise typer.BadParameter(f"There is no measurement {', '.join(sorted(unknown))}.")
    for name in only or MEASUREMENTS:
        content[name] = dict(MEASUREMENTS[name](run))
        typer.echo(f"{name}: {json.dumps(content[name])}")
        results.write("reliability", content)


if __name__ == "__main__":
    typer.run(main)
