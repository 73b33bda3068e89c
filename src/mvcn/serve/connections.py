"""Connections that cannot be held for nothing: by slow heads, slow readers, or in great number."""

import asyncio
import json

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mvcn.serve.limits import Limits
from mvcn.serve.responses import error_answer

CUT_FACTOR = 2
"""Connections above so many times the limit are cut, not answered."""
TOO_MANY = error_answer(
    503,
    "There are too many connections: try again soon.",
    {"Retry-After": "1", "Connection": "close"},
)
NOT_HTTP = "This is not a request in HTTP, or its head is too long."


class ConnectionConfig(uvicorn.Config):
    """Settings of uvicorn, with the limits of the service."""

    limits = Limits()


class PatientProtocol(H11Protocol):
    """A connection that is cut when its client leaves it hanging.

    uvicorn itself waits for ever for the end of a request's head, and for a client that does not
    read its answer.
    """

    config: ConnectionConfig
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        limit = self.config.limits.connections
        if len(self.connections) > CUT_FACTOR * limit:
            transport.abort()
            return
        if len(self.connections) > limit:
            self.app = TOO_MANY
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read a part of a head or of a body; the time for a head runs from its first byte."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read."""
        super().pause_writing()
        seconds = self.config.limits.answer_seconds
        self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in the shape of all errors."""
        content = json.dumps({"error": NOT_HTTP}).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        answer = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        )
        for event in answer:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        seconds = self.config.limits.head_seconds
        self._head_timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
