"""Give every answer an id and security headers, count it for Prometheus, and log it."""

import asyncio
import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping

from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mvcn.runtime.text_counts import TextCounts

LOG = logging.getLogger("mvcn.serve")
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OTHER = "other"
STATIC = "/static"
DISCARD_SECONDS = 2.0
"""How long the rest of a refused body is read, so that its sender receives the answer."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def error_answer(
    status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as all errors are sent."""
    return JSONResponse({"error": sentence}, status, dict(headers or {}))


class Metrics:
    """Counters of one service.

    Args:
        queue_length: Returns the number of waiting posts.
        is_ready: Returns whether posts are accepted.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, queue_length: Callable[[], int], is_ready: Callable[[], bool]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "mvcn_requests", "Answered requests.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "mvcn_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.posts = Counter("mvcn_posts", "Accepted posts.", registry=registry)
        self.rejected_posts = Counter(
            "mvcn_posts_rejected", "Posts refused since the queue was full.", registry=registry
        )
        self._truncated_texts = Counter(
            "mvcn_texts_truncated", "Texts longer than the model reads.", registry=registry
        )
        self._word_pieces = Counter("mvcn_word_pieces", "Word pieces read.", registry=registry)
        self._unknown_word_pieces = Counter(
            "mvcn_word_pieces_unknown",
            "Word pieces that are not in the vocabulary of the text encoder.",
            registry=registry,
        )
        self.batch_sizes = Histogram(
            "mvcn_batch_posts",
            "Posts per batch.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        length = Gauge("mvcn_queue_posts", "Posts waiting for the model.", registry=registry)
        length.set_function(queue_length)
        ready = Gauge("mvcn_ready", "1 when posts are accepted, else 0.", registry=registry)
        ready.set_function(is_ready)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_texts(self, counts: TextCounts) -> None:
        """Count how much of texts was read."""
        self._truncated_texts.inc(counts.truncated)
        self._word_pieces.inc(counts.word_pieces)
        self._unknown_word_pieces.inc(counts.unknown_word_pieces)

    def text(self) -> bytes:
        """Return all metrics in the format of Prometheus."""
        return generate_latest(self._registry)


class Monitored:
    """Middleware that logs and counts every answer, and never the content of posts.

    Args:
        app: The application.
        paths: Its paths; all others are counted as one, so that clients cannot add labels.
        metrics: Counters to update.
        is_stopping: Returns whether the service is stopping: connections are then closed.
    """

    def __init__(
        self, app: ASGIApp, paths: frozenset[str], metrics: Metrics, is_stopping: Callable[[], bool]
    ) -> None:
        self._app = app
        self._paths = paths
        self._metrics = metrics
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._is_stopping)
        scope.setdefault("state", {})
        began = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            await self._fail(scope, exchange, error)
        finally:
            self._record(scope, exchange, time.perf_counter() - began)

    async def _fail(self, scope: Scope, exchange: "_Exchange", error: Exception) -> None:
        """Log where an error was raised, without its message, which may contain a post."""
        place = traceback.format_tb(error.__traceback__)
        LOG.error(
            "fault", extra={"id": exchange.id, "kind": type(error).__name__, "traceback": place}
        )
        if exchange.status is None:
            sentence = f"The service failed: see its log under the id {exchange.id}."
            await error_answer(500, sentence)(scope, exchange.receive, exchange.send)

    def _record(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        path = scope["path"]
        if path not in self._paths:
            path = STATIC if path.startswith(f"{STATIC}/") else OTHER
        status = exchange.status or 500
        self._metrics.count_request(path, status, seconds)
        facts = {
            "id": exchange.id,
            "method": scope["method"],
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "posts": scope["state"].get("posts", 0),
            **scope["state"].get("texts", {}),
        }
        LOG.info("request", extra=facts)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, is_stopping: Callable[[], bool]
    ) -> None:
        self.id = uuid.uuid4().hex
        self.status: int | None = None
        self._receive = receive
        self._send = send
        self._is_stopping = is_stopping
        self._is_read = False
        self._expects_continue = "expect" in Headers(scope=scope)

    async def receive(self) -> Message:
        self._expects_continue = False
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._discard_body()
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            headers.update(HEADERS)
            headers.setdefault("Cache-Control", "no-store")
            if not self._is_read or self._is_stopping():
                headers["Connection"] = "close"
        await self._send(message)

    async def _discard_body(self) -> None:
        """Read the rest of the body; a client that is still sending does not read the answer.

        A client that waits before sending (``Expect: 100-continue``) need not send it at all.
        """
        if self._expects_continue:
            return
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self._is_read:
                    await self.receive()
        except TimeoutError:
            pass
