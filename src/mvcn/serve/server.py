"""The server process: its connections, its log, and a shutdown that loses no answer."""

import asyncio
import json
import logging
import signal
import socket
import sys
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mvcn.errors import ConfigError, reason_of
from mvcn.serve.answering import Answering
from mvcn.serve.limits import Limits
from mvcn.serve.monitoring import error_answer

GRACE_SECONDS = 0.5
"""Between the signal to stop and the end of listening, while new posts are refused."""
BACKLOG = 2048
CLOSE_FACTOR = 2
"""Connections above this multiple of the limit are closed without an answer."""
TOO_MANY = error_answer(
    503,
    "There are too many connections: try again in a second.",
    {"Retry-After": "1", "Connection": "close"},
)
NOT_HTTP = error_answer(
    400, "This is not an HTTP request, or its headers are too long.", {"Connection": "close"}
)
FACTS = (
    *("id", "method", "path", "status", "ms", "posts", "truncated", "unknown_share"),
    *("lone_surrogates", "kind", "reason", "traceback"),
)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 for any free one.

    Raises:
        ConfigError: The address is not of this machine, or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Cannot listen on port {port} of {host} ({reason_of(error)}): choose another with "
            "--port or --host."
        ) from error


def serve(app: FastAPI, limits: Limits, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; accepted requests are answered first."""
    config = _Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.answer_seconds) + 1,
    )
    config.limits = limits
    # uvicorn raises the signal again after it has stopped, for the handler that was set before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    _GracefulServer(config, app.state.answering).run([listener])


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Exit normally, with code 0."""
    sys.exit(0)


class JsonLines(logging.Formatter):
    """One JSON object per line; of an error only its class, for its text may hold a post."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = {name: getattr(record, name) for name in FACTS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            facts["kind"] = record.exc_info[0].__name__
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {"time": moment, "level": record.levelname, "event": record.getMessage(), **facts}
        )


def log_to_stdout() -> None:
    """Write the log of the service and of its libraries to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mvcn").propagate = True  # which the log on the terminal has switched off
    logging.getLogger("mvcn.serve").setLevel(logging.INFO)
    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Config(uvicorn.Config):
    limits = Limits()


class _GracefulServer(uvicorn.Server):
    """A server that refuses new posts for a moment before it stops listening."""

    def __init__(self, config: uvicorn.Config, answering: Answering) -> None:
        super().__init__(config)
        self._answering = answering

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._answering.state = "stopping"
        await asyncio.sleep(GRACE_SECONDS)
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """A connection that is closed when its client stalls.

    uvicorn itself waits forever for the end of a request's head, and for a client that does not
    read its answer.
    """

    config: _Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        super().connection_made(transport)
        limit = self.config.limits.connections
        if len(self.connections) > CLOSE_FACTOR * limit:
            transport.abort()
            return
        if len(self.connections) > limit:
            self.app = TOO_MANY
        self._start_timer("head", self.config.limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a head or body; the time for a head starts with its first byte."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer("head")
        elif "head" not in self._timers:
            self._start_timer("head", self.config.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer("head")
        self._stop_timer("answer")
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer for a client that does not read."""
        super().pause_writing()
        self._start_timer("answer", self.config.limits.answer_seconds)

    def resume_writing(self) -> None:
        """Stop the timer: the client has read."""
        self._stop_timer("answer")
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, as all errors are sent."""
        answer = (
            h11.Response(status_code=400, headers=NOT_HTTP.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(NOT_HTTP.body)),
            h11.EndOfMessage(),
        )
        for event in answer:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_timer(self, name: str, seconds: float) -> None:
        """Close the connection after some seconds, unless the timer is stopped."""
        self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
