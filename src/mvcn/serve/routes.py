"""What the service can be asked."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, PackageLoader

from mvcn.serve.answering import WHY_NOT, Answering
from mvcn.serve.requests import FORM, JSON, PostsBody
from mvcn.serve.responses import (
    ErrorAnswer,
    ExplanationAnswer,
    ModelAnswer,
    PredictionAnswer,
    PredictionsAnswer,
    RequestError,
    StateAnswer,
    WordAnswer,
)
from mvcn.serve.served_run import METHOD, ExplainedPost
from mvcn.types import BadImagePolicy

PAGE = Path(__file__).parent / "page"
PNG = "image/png"
PROBLEMS = {
    400: "Malformed.",
    401: "The key is missing or wrong.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "Of a type that is not read.",
    422: "No post, nothing in a post, an image that cannot be read, or beyond a limit.",
    429: "No room; Retry-After says when to try again.",
    500: "A fault of the service.",
    503: "The model is not loaded yet, or the service is about to stop.",
    504: "The answer took too long.",
}
FORM_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "image": {"type": "string", "format": "binary"}},
    "additionalProperties": False,
    "description": "One post; it needs a text, an image, or both.",
}
OnBadImage = Annotated[
    BadImagePolicy,
    Query(
        description="For an image that cannot be read: error refuses the request, blank goes on "
        "without the image, drop gives the post no label."
    ),
]


def open_routes(answering: Answering) -> APIRouter:
    """Return what needs no key: whether the service lives, and the page."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    @router.get("/health", responses=_problems(503))
    async def health() -> StateAnswer:
        """Tell whether the service lives."""
        if answering.state == "failed":
            raise RequestError(503, WHY_NOT["failed"])
        return StateAnswer(status="alive")

    @router.get("/ready", responses=_problems(503))
    async def ready() -> StateAnswer:
        """Tell whether posts are taken."""
        answering.require_ready()
        return StateAnswer(status="ready")

    return router


def post_routes(answering: Answering) -> APIRouter:
    """Return what is asked of posts."""
    router = APIRouter(responses=_problems(*PROBLEMS))

    @router.post(
        "/predict",
        openapi_extra={"requestBody": _body(form=True, batch=True)},
        dependencies=[Depends(_options_check("on_bad_image"))],
    )
    async def predict(request: Request, on_bad_image: OnBadImage = "error") -> PredictionsAnswer:
        """Classify one post given as a form, or a batch of posts given as JSON."""
        found = await answering.predict(request, on_bad_image)
        return PredictionsAnswer(predictions=[PredictionAnswer.of(one) for one in found])

    @router.post(
        "/explain",
        response_model=ExplanationAnswer,
        openapi_extra={"requestBody": _body(form=True, batch=False)},
        dependencies=[Depends(_options_check())],
        responses={200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def explain(request: Request) -> Response:
        """Say what decided one post.

        With ``Accept: application/json`` words and map, else a PNG: the image, red where it speaks
        for the class and blue where it speaks against.
        """
        found = await answering.explain(request)
        if JSON in request.headers.get("accept", ""):
            return JSONResponse(_explanation(found).model_dump())
        if found.heat_map is None:
            raise RequestError(
                422, "There is no image to draw on: ask for the words by Accept: application/json."
            )
        return Response(found.heat_map, media_type=PNG)

    return router


def about_routes(app: FastAPI, answering: Answering, about: Mapping[str, Any]) -> APIRouter:
    """Return what is asked of the service itself."""
    router = APIRouter(responses=_problems(401))
    templates = Environment(loader=PackageLoader("mvcn.serve"), autoescape=True)

    @router.get("/model")
    async def model() -> ModelAnswer:
        """Tell which model answers, and what it takes."""
        return ModelAnswer(**about)

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        return Response(answering.metrics.text(), media_type=answering.metrics.content_type)

    @router.get("/openapi.json", include_in_schema=False)
    async def schema() -> JSONResponse:
        return JSONResponse(app.openapi())

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(templates.get_template("docs.html.jinja").render(schema=app.openapi()))

    return router


def _options_check(*known: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        for name in request.query_params:
            if name not in known:
                what = f"known is {', '.join(known)}" if known else "none is known"
                raise RequestError(422, f"There is no option {name[:40]!r}: {what} at this path.")

    return check


def _explanation(found: ExplainedPost) -> ExplanationAnswer:
    words = [] if found.explanation is None else found.explanation.words
    return ExplanationAnswer(
        prediction=PredictionAnswer.of(found.prediction),
        words=[WordAnswer(word=word.text, weight=word.saliency) for word in words],
        image_map=None if found.heat_map is None else base64.b64encode(found.heat_map).decode(),
        method=METHOD,
    )


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": PROBLEMS[status]} for status in statuses}


def _body(*, form: bool, batch: bool) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if form:
        content[FORM] = {"schema": FORM_SCHEMA}
    if batch:
        content[JSON] = {"schema": PostsBody.model_json_schema()}
    return {"required": True, "content": content}
