"""Bodies of requests, read within bounds of size, memory and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from mvcn.serve.limits import MEBIBYTE, Limits
from mvcn.serve.responses import RequestError

RETRY = {"Retry-After": "1"}


class Intake:
    """Reads bodies; all that are held at the same time stay below a bound of memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Read a body and count it as held until the block ends.

        Raises:
            RequestError: It is too large, too slow or cut short, or too much is held already.
        """
        self._check_size(_declared_size(request))
        parts: list[bytes] = []
        size = 0
        try:
            async for part in self._parts(request):
                parts.append(part)
                size += len(part)
                self._held += len(part)
                self._check_size(size)
            yield b"".join(parts)
        finally:
            self._held -= size

    async def _parts(self, request: Request) -> AsyncIterator[bytes]:
        seconds = self._limits.body_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        stream = request.stream()
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    part = await anext(stream, None)
                if part is None:
                    return
                yield part
        except TimeoutError as error:
            sentence = f"The body did not come within {seconds:g} seconds: send it faster, or less."
            raise RequestError(408, sentence) from error
        except ClientDisconnect as error:
            raise RequestError(400, "The body ended before its declared length.") from error

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            most = self._limits.body_bytes / MEBIBYTE
            raise RequestError(
                413, f"The body is larger than the {most:g} MiB allowed: send less at once."
            )
        if self._held > self._limits.held_bytes:
            raise RequestError(429, "Too many bodies are held at once: try again soon.", RETRY)


def _declared_size(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0
