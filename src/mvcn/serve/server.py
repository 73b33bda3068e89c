"""A process that serves: it listens, logs, and stops without losing what it accepted."""

import asyncio
import json
import logging
import signal
import socket
import sys
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from mvcn.errors import ConfigError, reason_of
from mvcn.serve.answering import Answering
from mvcn.serve.connections import ConnectionConfig, PatientProtocol
from mvcn.serve.limits import Limits

GRACE_SECONDS = 0.5
"""Between the wish to stop and the end of listening: clients with open connections hear of it."""
BACKLOG = 2048
FACTS = (
    *("id", "method", "path", "status", "ms", "posts", "lone_surrogates"),
    *("kind", "reason", "traceback"),
)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises:
        ConfigError: The address is not one of this machine, or taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Cannot listen on port {port} of {host} ({reason_of(error)}): choose other ones."
        ) from error


def serve(app: FastAPI, limits: Limits, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; what was accepted before is answered first."""
    config = ConnectionConfig(
        app,
        http=PatientProtocol,
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
    # uvicorn raises the signal that ended it once more, for the handler that was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    _GracefulServer(config, app.state.answering).run([listener])


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End the process in the usual way, with exit code 0."""
    sys.exit(0)


class JsonLines(logging.Formatter):
    """One JSON object a line; of an error its kind alone, for its text may hold a post."""

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
    """Send the log of the service and of its libraries to the standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mvcn.serve").setLevel(logging.INFO)
    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _GracefulServer(uvicorn.Server):
    """A server that refuses new posts for a moment before it stops to listen."""

    def __init__(self, config: uvicorn.Config, answering: Answering) -> None:
        super().__init__(config)
        self._answering = answering

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._answering.state = "stopping"
        await asyncio.sleep(GRACE_SECONDS)
        await super().shutdown(sockets)
