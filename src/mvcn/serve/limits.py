"""Limits of a service, and the errors of requests that exceed them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from mvcn.errors import ConfigError
from mvcn.types import MAX_IMAGE_PIXELS

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of requests, of the queue and of time; what exceeds them is refused at once.

    Raises:
        ConfigError: A limit is not above 0, or two of them contradict each other.
    """

    body_bytes: int = 16 * MEBIBYTE
    """Of one request's body."""
    held_bytes: int = 256 * MEBIBYTE
    """Of all bodies together that are read or not yet answered."""
    pixels: int = 50_000_000
    """Of one image."""
    text_characters: int = 10_000
    """Of one post; the model reads only the first word pieces."""
    posts: int = 64
    """In one request."""
    queue_posts: int = 256
    """Waiting for the model, of all requests together."""
    queue_seconds: float = 20.0
    """Estimated wait from which no more posts are accepted."""
    batch_posts: int = 32
    """Largest batch of the model."""
    batch_wait_seconds: float = 0.005
    """How long a post waits for others to fill a batch."""
    head_seconds: float = 10.0
    """Until a connection has sent the head of a request."""
    body_seconds: float = 30.0
    """Until a request has sent its body."""
    answer_seconds: float = 60.0
    """Until a request is answered once it was read, and until its client has read the answer."""
    connections: int = 400
    """At the same time; more get status 503, and beyond twice as many they are closed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ConfigError(f"The limit {field.name} must be above 0.")
        if self.pixels > MAX_IMAGE_PIXELS:
            raise ConfigError(
                f"Images of more than {MAX_IMAGE_PIXELS:,} pixels are never read: use a smaller "
                "--max-megapixels."
            )
        if self.posts > self.queue_posts:
            raise ConfigError(
                f"A request of {self.posts} posts would never fit into a queue of "
                f"{self.queue_posts}: use a larger --queue or a smaller --max-posts."
            )
        if self.body_bytes > self.held_bytes:
            raise ConfigError(
                f"A body of {self.body_bytes} bytes would never fit into the {self.held_bytes} "
                "bytes for all bodies: use a smaller --max-body-mib or a larger --max-held-mib."
            )


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        sentence: What is wrong, where, and what to do.
        headers: In addition to the usual ones.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})


class TooManyRequestsError(RequestError):
    """A request for which there is no room at the moment: status 429.

    Args:
        sentence: Which limit is reached, and when to try again.
        retry_seconds: When there will probably be room again.
    """

    def __init__(self, sentence: str, retry_seconds: int) -> None:
        super().__init__(429, sentence, {"Retry-After": str(retry_seconds)})
