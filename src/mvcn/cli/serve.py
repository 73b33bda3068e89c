"""``mvcn serve``."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from mvcn.cli.options import BackendName, Run
from mvcn.cli.process import set_up_process
from mvcn.serve.limits import MEBIBYTE, Limits
from mvcn.workers import set_num_threads

if TYPE_CHECKING:
    from mvcn.inference.backends import Backend

KEY_VARIABLE = "MVCN_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MILLION = 1_000_000
USUAL = Limits()
Above0 = partial(Option, min=0.001)
"""An option that is not a whole number; 0 would refuse every request."""


def serve(
    run: Run,
    host: Annotated[
        str, Option(help="Address to listen on; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    backend: BackendName = "auto",
    threads: Annotated[
        int | None, Option(min=1, help="Compute threads; by default one per core.")
    ] = None,
    batch_size: Annotated[int, Option(min=1, help="Largest batch of posts.")] = USUAL.batch_posts,
    max_wait_ms: Annotated[
        float, Above0(help="How long a post waits for others to fill a batch.")
    ] = 1000 * USUAL.batch_wait_seconds,
    queue: Annotated[
        int, Option(min=1, help="Longest queue of posts; more are refused with status 429.")
    ] = USUAL.queue_posts,
    queue_seconds: Annotated[
        float, Above0(help="Estimated wait from which posts are refused, too.")
    ] = USUAL.queue_seconds,
    max_posts: Annotated[int, Option(min=1, help="Most posts in one request.")] = USUAL.posts,
    max_body_mib: Annotated[float, Above0(help="Largest body of a request.")] = (
        USUAL.body_bytes / MEBIBYTE
    ),
    max_held_mib: Annotated[float, Above0(help="Total size of unanswered bodies.")] = (
        USUAL.held_bytes / MEBIBYTE
    ),
    max_megapixels: Annotated[float, Above0(help="Largest image.")] = USUAL.pixels / MILLION,
    max_characters: Annotated[int, Option(min=1, help="Longest text.")] = USUAL.text_characters,
    max_connections: Annotated[int, Option(min=1, help="Most connections.")] = USUAL.connections,
    head_seconds: Annotated[float, Above0(help="Time for a request's head.")] = USUAL.head_seconds,
    body_seconds: Annotated[float, Above0(help="Time for a request's body.")] = USUAL.body_seconds,
    answer_seconds: Annotated[float, Above0(help="Time for the answer.")] = USUAL.answer_seconds,
) -> None:
    """Answer requests over HTTP, with a page to try the run in a browser.

    Clients must send the key in MVCN_API_KEY, where that is set, as Authorization: Bearer KEY.
    """
    limits = Limits(
        body_bytes=int(max_body_mib * MEBIBYTE),
        held_bytes=int(max_held_mib * MEBIBYTE),
        pixels=int(max_megapixels * MILLION),
        text_characters=max_characters,
        posts=max_posts,
        queue_posts=queue,
        queue_seconds=queue_seconds,
        batch_posts=batch_size,
        batch_wait_seconds=max_wait_ms / 1000,
        head_seconds=head_seconds,
        body_seconds=body_seconds,
        answer_seconds=answer_seconds,
        connections=max_connections,
    )
    _answer(run, backend, host, port, threads, limits)


def _answer(
    run: Path, backend: "Backend", host: str, port: int, threads: int | None, limits: "Limits"
) -> None:
    """Load a run, and serve it until the process is stopped."""
    from mvcn.serve.answering import ServedRun
    from mvcn.serve.application import create_app
    from mvcn.serve.server import listen, log_to_stdout
    from mvcn.serve.server import serve as serve_forever

    set_up_process()
    key = os.environ.get(KEY_VARIABLE) or None
    if threads is not None:
        set_num_threads(threads)
    with listen(host, port) as listener:
        served = ServedRun(run, backend)
        _announce(run, host, listener.getsockname()[1], key)
        log_to_stdout()
        serve_forever(create_app(served, limits, key), limits, listener)


def _announce(run: Path, host: str, port: int, key: str | None) -> None:
    place = f"[{host}]" if ":" in host else host
    typer.echo(f"Serving {run} on http://{place}:{port} (Ctrl+C ends it).", err=True)
    if host not in LOOPBACK and key is None:
        typer.echo(
            f"Warning: anyone who can reach {host} can use the service: set {KEY_VARIABLE} to "
            "require a key.",
            err=True,
        )
