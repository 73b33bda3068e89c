"""Processor time and memory of the phases of a process."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KIBIBYTE, MEGABYTE = 1024, 1e6
SECONDS_BETWEEN = 0.01
ANONYMOUS, FILE_BACKED = "peak_anonymous_mb", "peak_file_backed_mb"


class MemoryWatch:
    """Processor time and largest memory of each phase of this process."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._phase = "start"
        self._started = time.process_time()
        self._peaks = [0, 0]
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look at the memory all the time within the block."""
        thread = threading.Thread(target=self._look_again, daemon=True)
        thread.start()
        yield
        self._stop.set()
        thread.join()
        self.begin("end")

    def begin(self, phase: str) -> None:
        """End the phase before, and begin another."""
        self._look()
        with self._lock:
            now = time.process_time()
            anonymous, file_backed = self._peaks
            self.phases[self._phase] = {
                "processor_seconds": round(now - self._started, 1),
                ANONYMOUS: round(anonymous / MEGABYTE, 1),
                FILE_BACKED: round(file_backed / MEGABYTE, 1),
            }
            self._phase, self._started, self._peaks = phase, now, [0, 0]

    def _look_again(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN):
            self._look()

    def _look(self) -> None:
        with self._lock:
            self._peaks = [max(pair) for pair in zip(self._peaks, memory(), strict=True)]


def memory() -> tuple[int, int]:
    """Return the bytes of this process in memory: anonymous ones, and those of mapped files."""
    status = Path("/proc/self/status").read_text("ascii")
    anonymous, file_backed = (
        int(kib) * KIBIBYTE for kib in re.findall(r"^Rss(?:Anon|File):\s+(\d+) kB", status, re.M)
    )
    return anonymous, file_backed
