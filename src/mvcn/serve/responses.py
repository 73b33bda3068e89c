"""What the service answers."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field


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
        description="Why the post was left out, or classified without its image, if so."
    )


class PredictionsAnswer(BaseModel):
    """Predictions in the order of the posts."""

    predictions: list[PredictionAnswer]


class WordAnswer(BaseModel):
    """A word of the post's text."""

    word: str
    weight: float = Field(description="How far the log-probability of the class falls without it.")


class ExplanationAnswer(BaseModel):
    """What decided."""

    prediction: PredictionAnswer
    words: list[WordAnswer]
    image_map: str | None = Field(
        description="Base64 of a PNG: the image with what speaks for (red) and against (blue) "
        "the class; null without an image."
    )
    method: str = Field(description="How the map was made.")


class StateAnswer(BaseModel):
    """Whether the service is alive, or accepts posts."""

    status: str


class ModelAnswer(BaseModel):
    """The model that answers, and what the service accepts."""

    labels: list[str]
    network: str
    reads: list[str] = Field(description="What of a post the model reads: text, image or both.")
    backend: str
    temperature: float
    versions: dict[str, str]
    trained_with: dict[str, Any] = Field(description="Versions, seed and commit of the training.")
    limits: dict[str, float]
    card: str | None = Field(description="Text of the model card, where the run has one.")


def error_answer(
    status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the shape that all errors have."""
    return JSONResponse({"error": sentence}, status, dict(headers or {}))
