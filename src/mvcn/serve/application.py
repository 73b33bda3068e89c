"""The service as an ASGI application: its paths, its key, its answers and errors."""

import asyncio
import base64
import dataclasses
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.exceptions import HTTPException

from mvcn.serve.answering import WHY_NOT, Answering, ExplainedPost, ServedRun
from mvcn.serve.documentation import as_json, operations
from mvcn.serve.limits import Limits, RequestError
from mvcn.serve.monitoring import STATIC, Monitored, error_answer
from mvcn.serve.requests import FORM, JSON, PostBody, PostsBody
from mvcn.types import DEFAULT_SALIENCY, BadImagePolicy

PAGE = Path(__file__).parent / "page"
PNG = "image/png"
KEY_MISSING = "The key is missing or wrong: send it as Authorization: Bearer KEY."
PROBLEMS = {
    400: "Malformed.",
    401: "The key is missing or wrong.",
    408: "The body arrived too slowly.",
    413: "The body is too large.",
    415: "The content type is not supported.",
    422: "No post, an empty post, an unreadable image, or a limit is exceeded.",
    429: "The queue is full; Retry-After says when to try again.",
    500: "A fault of the service.",
    503: "The model is not loaded yet, or the service is stopping.",
    501: "Explanations need PyTorch, which is not installed here.",
    504: "The answer took too long.",
}
ROUTER_PROBLEMS = {
    404: "There is no such path: see /docs for all paths.",
    405: "The path does not support this method: see /docs.",
}
FORM_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "image": {"type": "string", "format": "binary"}},
    "additionalProperties": False,
    "description": "One post; it needs a text, an image, or both.",
}
EXAMPLES = {
    FORM: {"text": "what a lovely day"},
    JSON: {"posts": [{"id": "a", "text": "what a lovely day"}, {"text": "such a dull one"}]},
}
OnBadImage = Annotated[
    BadImagePolicy,
    Query(
        description="For an unreadable image: error refuses the request, blank continues "
        "without the image, drop gives the post no label."
    ),
]


class ErrorAnswer(BaseModel):
    """An error of any kind."""

    error: str = Field(description="One sentence: what is wrong, where, and what to do.")


class PredictionAnswer(BaseModel):
    """The prediction of one post."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    label: str | None = Field(description="The most probable class; null for a post left out.")
    probabilities: dict[str, float] = Field(
        description="Class -> calibrated probability; empty for a post left out."
    )
    problem: str | None = Field(
        description="Why the post was left out, or classified without its image; else null."
    )
    disagreement: float | None = Field(
        description="Standard deviation of the label's probability over the members of an "
        "ensemble; null for another model, and for a post left out."
    )


class PredictionsAnswer(BaseModel):
    """Predictions in the order of the posts."""

    predictions: list[PredictionAnswer]


class WordAnswer(BaseModel):
    """A word of the post's text."""

    word: str
    weight: float = Field(description="How much the log-probability of the class falls without it.")


class ExplanationAnswer(BaseModel):
    """The explanation of a prediction."""

    prediction: PredictionAnswer
    words: list[WordAnswer]
    image_map: str | None = Field(
        description="Base64 of a PNG: the image with evidence for (red) and against (blue) "
        "the class; null without an image."
    )
    method: str = Field(description="How the map was computed.")


class StateAnswer(BaseModel):
    """Whether the service is alive, or accepts posts."""

    status: str


class ModelAnswer(BaseModel):
    """The served model, and the limits of the service."""

    labels: list[str]
    network: str
    reads: list[str] = Field(description="Inputs of the model: text, image or both.")
    backend: str
    temperature: float
    members: int = Field(description="Members of an ensemble; 1 for another model.")
    versions: dict[str, str]
    trained_with: dict[str, Any] = Field(description="Versions, seed and commit of the training.")
    limits: dict[str, float]
    card: str | None = Field(description="Text of the model card, if the run has one.")


def create_app(run: ServedRun, limits: Limits, key: str | None = None) -> FastAPI:
    """Return the application that serves a run, with its `Answering` as ``state.answering``.

    Args:
        run: Run with its model.
        limits: Limits of requests and of the queue.
        key: Key that clients must send as ``Authorization: Bearer KEY``; None for no key.
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
    public = [_state_routes(answering), _documentation_routes(app, has_key=bool(key))]
    private = [
        _post_routes(answering),
        _about_routes(answering, about | {"limits": dataclasses.asdict(limits)}),
    ]
    for router in public:
        app.include_router(router)
    for router in private:
        app.include_router(router, dependencies=locked)
    app.mount(STATIC, StaticFiles(directory=PAGE))
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    routes = [route for router in (*public, *private) for route in router.routes]
    paths = frozenset(str(route.path) for route in routes if isinstance(route, APIRoute))
    app.add_middleware(Monitored, paths, answering.metrics, lambda: answering.state == "stopping")
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
    scheme = HTTPBearer(auto_error=False, description="If the service requires a key.")
    expected = key.encode()

    def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        given = b"" if sent is None else sent.credentials.encode()
        if not hmac.compare_digest(given, expected):
            raise RequestError(401, KEY_MISSING, {"WWW-Authenticate": "Bearer"})

    return check


def _state_routes(answering: Answering) -> APIRouter:
    """Return the routes without a key: the page, and whether the service is alive and ready."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @router.get("/health", responses=_problems(503))
    async def health() -> StateAnswer:
        """Return whether the service is alive."""
        if answering.state == "failed":
            raise RequestError(503, WHY_NOT["failed"])
        return StateAnswer(status="alive")

    @router.get("/ready", responses=_problems(503))
    async def ready() -> StateAnswer:
        """Return whether posts are accepted."""
        answering.require_ready()
        return StateAnswer(status="ready")

    return router


def _post_routes(answering: Answering) -> APIRouter:
    """Return the routes for posts."""
    router = APIRouter(responses=_problems(*PROBLEMS))

    @router.post(
        "/predict",
        openapi_extra=_body(FORM, JSON),
        dependencies=[Depends(_options_check("on_bad_image"))],
    )
    async def predict(request: Request, on_bad_image: OnBadImage = "error") -> PredictionsAnswer:
        """Classify one post given as a form or as JSON, or a batch of posts given as JSON."""
        found = await answering.predict(request, on_bad_image)
        return PredictionsAnswer(
            predictions=[PredictionAnswer.model_validate(one) for one in found]
        )

    @router.post(
        "/explain",
        response_model=ExplanationAnswer,
        openapi_extra=_body(FORM),
        dependencies=[Depends(_options_check())],
        responses={200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def explain(request: Request) -> Response:
        """Explain the prediction for one post.

        With ``Accept: application/json`` words and map, otherwise a PNG: the image, red where it
        supports the class and blue where it contradicts it.
        """
        found = await answering.explain(request)
        if JSON in request.headers.get("accept", ""):
            return JSONResponse(_explanation(found).model_dump())
        if found.heat_map is None:
            raise RequestError(
                422,
                "The post has no image to draw on: send Accept: application/json to get the words "
                "instead.",
            )
        return Response(found.heat_map, media_type=PNG)

    return router


def _about_routes(answering: Answering, about: Mapping[str, Any]) -> APIRouter:
    """Return the routes about the service itself."""
    router = APIRouter(responses=_problems(401))

    @router.get("/model")
    async def model() -> ModelAnswer:
        """Return the served model, and the limits of the service."""
        return ModelAnswer(**about)

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        return Response(answering.metrics.text(), media_type=answering.metrics.content_type)

    return router


def _documentation_routes(app: FastAPI, *, has_key: bool) -> APIRouter:
    """Return the routes that describe the API to programs and to readers, without a key."""
    router = APIRouter()
    templates = Environment(
        loader=PackageLoader("mvcn.serve"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )

    @router.get("/openapi.json", include_in_schema=False)
    async def schema() -> JSONResponse:
        return JSONResponse(app.openapi())

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = templates.get_template("docs.html.jinja").render(
            title=app.title,
            summary=app.summary,
            operations=operations(app.openapi()),
            address=str(request.base_url).rstrip("/"),
            has_key=has_key,
            form=FORM,
            as_json=as_json,
        )
        return HTMLResponse(page)

    return router


def _options_check(*known: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        for name in request.query_params:
            if name not in known:
                what = f"use {', '.join(known)}" if known else "there are none"
                raise RequestError(
                    422, f"There is no query parameter {name[:40]!r}: {what} at this path."
                )

    return check


def _explanation(found: ExplainedPost) -> ExplanationAnswer:
    words = [] if found.explanation is None else found.explanation.words
    return ExplanationAnswer(
        prediction=PredictionAnswer.model_validate(found.prediction),
        words=[WordAnswer(word=word.text, weight=word.saliency) for word in words],
        image_map=None if found.heat_map is None else base64.b64encode(found.heat_map).decode(),
        method=DEFAULT_SALIENCY,
    )


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": PROBLEMS[status]} for status in statuses}


def _body(*media_types: str) -> dict[str, Any]:
    schemas = {FORM: FORM_SCHEMA, JSON: TypeAdapter(PostsBody | PostBody).json_schema()}
    content = {name: {"schema": schemas[name], "example": EXAMPLES[name]} for name in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_answer(error.status, str(error), error.headers)


def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer requests that the router refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    sentence = ROUTER_PROBLEMS.get(error.status_code, "The request cannot be answered.")
    return error_answer(error.status_code, sentence, error.headers)


def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    place = ".".join(map(str, fault["loc"]))
    return error_answer(422, f"The request is malformed: at {place}, {fault['msg']}.")
