"""A run that answers: from requests to the model's predictions, within all limits."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fastapi import Request
from PIL import Image
from starlette.requests import ClientDisconnect

from mvcn.data.bad_images import missing_input, require_content, usable_posts
from mvcn.data.image_references import DecodedImage
from mvcn.errors import ConfigError, DataError, require_torch
from mvcn.inference.backends import Backend
from mvcn.inference.classifier import Classifier, Prediction
from mvcn.runtime.graphs import GraphModel
from mvcn.runtime.text_counts import TextCounts
from mvcn.serve.batching import Work, WorkQueue
from mvcn.serve.limits import MEBIBYTE, Limits, RequestError, TooManyRequestsError
from mvcn.serve.monitoring import Metrics
from mvcn.serve.requests import FORM, JSON, parse_json, parse_one
from mvcn.training.environment import package_versions
from mvcn.training.run_folder import CARD_FILE, Run
from mvcn.types import DEFAULT_SALIENCY, BadImagePolicy, Post

if TYPE_CHECKING:
    from mvcn.explain.post import Explanation
    from mvcn.models.classification import MvcnForClassification

WARM_UP = Post("warm-up", "warm-up", DecodedImage(Image.new("RGB", (8, 8))))
LOG = logging.getLogger("mvcn.serve")
Result = TypeVar("Result")
State = Literal["loading", "ready", "stopping", "failed"]
WHY_NOT: dict[State, str] = {
    "loading": "The model is still loading: try again in a few seconds.",
    "stopping": "The service is shutting down: use another one.",
    "failed": "The model failed: see the log for the reason.",
}
RETRY = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class ExplainedPost:
    """A prediction and its explanation."""

    prediction: Prediction
    explanation: "Explanation | None"
    """None where the image could not be read."""
    heat_map: bytes | None
    """A PNG; None for a post without an image, or a model that reads none."""


class ServedRun:
    """A run folder with its loaded model.

    Args:
        folder: A finished run.
        backend: Backend of the predictions.

    Raises:
        RunError: The folder is not a finished run, or a file in it is damaged or missing.
    """

    def __init__(self, folder: Path, backend: Backend = "auto") -> None:
        self.run = Run(folder)
        self.classifier = Classifier.from_pretrained(folder, backend)
        has_graphs = isinstance(self.classifier.model, GraphModel)
        self.backend = backend if backend != "auto" else "onnx" if has_graphs else "torch"
        self.columns = self.run.columns
        """Our name of a column -> its name in the training table."""

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return one prediction per post; a post with an unreadable image is classified without it.

        Posts of several requests may have the same id.
        """
        return list(self.classifier.each_prediction(posts, on_bad_image="blank"))

    def explain(self, posts: Sequence[Post]) -> list[ExplainedPost]:
        """Explain each post, with torch whatever the backend of the predictions."""
        return [self._explain(post) for post in posts]

    def describe(self) -> dict[str, Any]:
        """Return the public facts about the model."""
        config, card = self.classifier.model.config, self.run.folder / CARD_FILE
        return {
            "labels": list(self.classifier.class_names),
            "network": config.network,
            "reads": list(self.classifier.reads),
            "backend": self.backend,
            "temperature": config.temperature,
            "members": config.members,
            "versions": package_versions(),
            "trained_with": self.run.environment,
            "card": card.read_text("utf-8") if card.is_file() else None,
        }

    @cached_property
    def _model(self) -> "MvcnForClassification":
        """The model for explanations, loaded when it is first needed."""
        model = self.classifier.model
        return self.run.model if isinstance(model, GraphModel) else model

    def _explain(self, post: Post) -> ExplainedPost:
        from mvcn.explain.figures import draw_heat_map  # by PyTorch, which takes seconds to load
        from mvcn.explain.post import explain
        from mvcn.inputs.batches import PostEncoder

        (prediction,) = self.predict([post])
        if prediction.problem is not None:
            return ExplainedPost(prediction, None, None)
        processor = self.run.processor
        encoder = PostEncoder.for_prediction(
            self._model.config, processor, self.classifier.attribute_model
        )
        (found,) = explain(self._model, processor, encoder.encode([post]), DEFAULT_SALIENCY)
        return ExplainedPost(prediction, found, draw_heat_map(found))


class Answering:
    """Answers requests with the model of a run.

    Args:
        run: Run with its model.
        limits: Limits of requests and of the queue.
    """

    def __init__(self, run: ServedRun, limits: Limits) -> None:
        self.state: State = "loading"
        self.metrics = Metrics(lambda: len(self._queue), lambda: self.state == "ready")
        self._run = run
        self._limits = limits
        self._held_bytes = 0
        self._queue = WorkQueue(
            limits.queue_posts,
            limits.batch_wait_seconds,
            limits.queue_seconds,
            self.metrics.batch_sizes.observe,
        )
        self._predict = Work(run.predict, limits.batch_posts)
        self._explain = Work(run.explain, 1)

    async def warm_up(self) -> None:
        """Start the worker thread, and accept posts after a first prediction, which is slow."""
        self._queue.start()
        try:
            await self._queue.submit(self._predict, [WARM_UP])
        except Exception as error:
            self.state = "failed"
            LOG.error("fault", extra={"kind": type(error).__name__, "reason": str(error)})
        else:
            if self.state == "loading":
                self.state = "ready"

    async def close(self) -> None:
        """Answer all accepted posts, then stop."""
        self.state = "stopping"
        await self._queue.close()

    def require_ready(self) -> None:
        """Raise a RequestError unless posts are accepted."""
        if self.state != "ready":
            raise RequestError(503, WHY_NOT[self.state], RETRY)

    async def predict(self, request: Request, policy: BadImagePolicy) -> list[Prediction]:
        """Return a prediction for each post of a request, in order.

        Among many posts, one with nothing that the model reads gets no label.

        Raises:
            RequestError: The request is refused.
        """
        async with self._posts(request, (JSON, FORM)) as posts:
            found = await self._compute(self._predict, posts)
        self._count_texts(request, found)
        return self._apply_policy(posts, found, policy, has_ids=_media_type(request) == JSON)

    async def explain(self, request: Request) -> ExplainedPost:
        """Explain the one post of a request.

        Raises:
            RequestError: The request is refused.
        """
        try:
            require_torch("An explanation")
        except ConfigError as error:
            raise RequestError(501, str(error)) from error
        async with self._posts(request, (FORM,)) as posts:
            (found,) = await self._compute(self._explain, posts)
        self._count_texts(request, [found.prediction])
        self._apply_policy(posts, [found.prediction], "error", has_ids=False)
        return found

    @asynccontextmanager
    async def _posts(self, request: Request, kinds: Sequence[str]) -> AsyncIterator[list[Post]]:
        """Yield a request's posts; its bytes count as held until the block ends."""
        self.require_ready()
        content_type, kind = request.headers.get("content-type", ""), _media_type(request)
        if kind not in kinds or "content-encoding" in request.headers:
            raise RequestError(
                415,
                f"The content type is not supported: send {' or '.join(kinds)}, without "
                "compression.",
            )
        async with self._body(request) as body:
            parse = parse_json if kind == JSON else partial(parse_one, content_type=content_type)
            columns = {ours: theirs for ours, theirs in self._run.columns.items() if theirs}
            posts = await asyncio.to_thread(parse, body, self._limits, columns)
            if kind == FORM:
                self._require_content(posts[0])
            request.state.posts = len(posts)
            yield posts

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a body; its bytes count as held until the block ends.

        Raises:
            RequestError: It is too large, too slow or truncated, or too many bytes are held.
        """
        declared = request.headers.get("content-length", "")
        self._check_size(int(declared) if declared.isdecimal() else 0)
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in _chunks(request, self._limits.body_seconds):
                chunks.append(chunk)
                size += len(chunk)
                self._held_bytes += len(chunk)
                self._check_size(size)
            yield b"".join(chunks)
        finally:
            self._held_bytes -= size

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            most = self._limits.body_bytes / MEBIBYTE
            raise RequestError(
                413,
                f"The body is larger than the {most:g} MiB allowed: send fewer posts or "
                "smaller images.",
            )
        if self._held_bytes > self._limits.held_bytes:
            raise TooManyRequestsError(
                "Too many requests are being processed: try again in a second.", 1
            )

    def _count_texts(self, request: Request, found: Sequence[Prediction]) -> None:
        """Count how much of the texts was read, for the log and the metrics."""
        counts = sum((one.text_counts for one in found), TextCounts())
        request.state.texts = {
            "truncated": counts.truncated,
            "unknown_share": round(counts.unknown_share, 3),
        }
        self.metrics.count_texts(counts)

    def _require_content(self, post: Post) -> None:
        try:
            require_content(post, self._run.classifier.reads)
        except DataError as error:
            raise RequestError(422, str(error)) from error

    def _apply_policy(
        self,
        posts: Sequence[Post],
        found: Sequence[Prediction],
        policy: BadImagePolicy,
        *,
        has_ids: bool,
    ) -> list[Prediction]:
        """Apply a policy to predictions that were made without the bad images."""
        reads = self._run.classifier.reads
        bad = {
            i: one.problem
            for i, (post, one) in enumerate(zip(posts, found, strict=True))
            if one.problem is not None and missing_input(post, reads) is None
        }
        if policy == "error":
            for i, problem in bad.items():
                raise RequestError(422, f"Post {posts[i].id!r}: {problem}" if has_ids else problem)
        kept = set(usable_posts(posts, bad, policy, reads).positions)
        return [
            one if i in kept else Prediction(one.id, None, {}, one.problem)
            for i, one in enumerate(found)
        ]

    async def _compute(self, work: Work[Post, Result], posts: Sequence[Post]) -> list[Result]:
        seconds = self._limits.answer_seconds
        try:
            async with asyncio.timeout(seconds):
                found = await self._queue.submit(work, posts)
        except TooManyRequestsError:
            self.metrics.rejected_posts.inc(len(posts))
            raise
        except TimeoutError as error:
            sentence = f"The model did not answer within {seconds:g} seconds: try again later."
            raise RequestError(504, sentence) from error
        self.metrics.posts.inc(len(posts))
        return found


async def _chunks(request: Request, seconds: float) -> AsyncIterator[bytes]:
    deadline = asyncio.get_running_loop().time() + seconds
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            yield chunk
    except TimeoutError as error:
        sentence = (
            f"The body did not arrive within {seconds:g} seconds: send fewer posts or smaller "
            "images."
        )
        raise RequestError(408, sentence) from error
    except ClientDisconnect as error:
        raise RequestError(
            400, "The body is shorter than its Content-Length: send it again."
        ) from error


def _media_type(request: Request) -> str:
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()
