"""What a service counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one service.

    Args:
        queue_length: Returns how many posts wait.
        is_ready: Tells whether posts are taken.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, queue_length: Callable[[], int], is_ready: Callable[[], bool]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "mvcn_requests", "Requests that were answered.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "mvcn_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self._posts = Counter("mvcn_posts", "Posts that were taken in.", registry=registry)
        self._rejected = Counter(
            "mvcn_posts_rejected", "Posts for which there was no room.", registry=registry
        )
        self._batches = Histogram(
            "mvcn_batch_posts",
            "Posts that were computed together.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        length = Gauge("mvcn_queue_posts", "Posts that wait for the model.", registry=registry)
        length.set_function(queue_length)
        ready = Gauge("mvcn_ready", "1 when posts are taken, else 0.", registry=registry)
        ready.set_function(is_ready)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_posts(self, posts: int) -> None:
        """Count posts that were taken in."""
        self._posts.inc(posts)

    def count_rejected(self, posts: int) -> None:
        """Count posts that found no room."""
        self._rejected.inc(posts)

    def count_batch(self, posts: int) -> None:
        """Count a batch."""
        self._batches.observe(posts)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)
