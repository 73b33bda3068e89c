"""The service as an ASGI application."""

import asyncio
import dataclasses
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from mvcn.serve.answering import Answering
from mvcn.serve.limits import Limits
from mvcn.serve.observed import STATIC, Observed
from mvcn.serve.responses import RequestError, error_answer
from mvcn.serve.routes import PAGE, about_routes, open_routes, post_routes
from mvcn.serve.served_run import ServedRun

KEY_MISSING = "The key is missing or wrong: send it as Authorization: Bearer KEY."


def create_app(run: ServedRun, limits: Limits, key: str | None = None) -> FastAPI:
    """Return the application that serves a run; its ``state.answering`` decides what is taken.

    Args:
        run: Whose model answers.
        limits: What is taken on.
        key: What clients must send as ``Authorization: Bearer KEY``; without it, none is asked for.
    """
    answering = Answering(run, limits)
    about = run.describe()
    app = FastAPI(
        title="mvcn",
        summary="Classes of posts made of text and image.",
        version=about["versions"]["mvcn"],
        lifespan=_lifespan(answering),
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.answering = answering
    locked = [Depends(_key_check(key))] if key else []
    about |= {"limits": dataclasses.asdict(limits)}
    public = open_routes(answering)
    private = [post_routes(answering), about_routes(app, answering, about)]
    app.include_router(public)
    for router in private:
        app.include_router(router, dependencies=locked)
    app.mount(STATIC, StaticFiles(directory=PAGE))
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    paths = frozenset(
        str(route.path)
        for router in (public, *private)
        for route in router.routes
        if isinstance(route, APIRoute)
    )
    app.add_middleware(Observed, paths, answering.metrics, lambda: answering.state == "stopping")
    return app


def _lifespan(
    answering: Answering,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(answering.warm_up())
        yield
        await warming
        await answering.close()

    return lifespan


def _key_check(key: str) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    scheme = HTTPBearer(auto_error=False, description="Where the service was given a key.")
    expected = key.encode()

    def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        given = b"" if sent is None else sent.credentials.encode()
        if not hmac.compare_digest(given, expected):
            raise RequestError(401, KEY_MISSING, {"WWW-Authenticate": "Bearer"})

    return check


def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_answer(error.status, str(error), error.headers)


def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    sentences = {
        404: "There is nothing here: /docs lists what there is.",
        405: "This cannot be asked in this way: /docs says how.",
    }
    sentence = sentences.get(error.status_code, "The request cannot be answered.")
    return error_answer(error.status_code, sentence, error.headers)


def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    place = ".".join(map(str, fault["loc"]))
    return error_answer(422, f"The request is not as it should be: at {place}, {fault['msg']}.")
