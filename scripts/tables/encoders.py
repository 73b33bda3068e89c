"""Tables of the encoders that can be used, from their families in the package."""

from mvcn.encoders.families import IMAGE_FAMILIES, TEXT_FAMILIES, Family
from scripts.tables.markdown import table

SUMMARIES = {"first": "first token", "last": "last token", "mean": "mean of all"}
NOTES = {
    "patches": "images are resized to squares, whatever their shape",
    "pixels in order": "no patch is hidden",
}
ONE_LAYER = "one layer for all: `frozen_text_layers` is 0 or `all`"


def texts() -> str:
    """Return the families of text encoders."""
    header = ["family", "`model_type`", "for instance", "summary", "word pieces", ""]
    rows = [
        [*_names(name, one), SUMMARIES[one.summary], _length(one), _note(one)]
        for name, one in TEXT_FAMILIES.items()
    ]
    return table(header, rows)


def images() -> str:
    """Return the families of image encoders."""
    header = ["family", "`model_type`", "for instance", "summary", ""]
    rows = [
        [*_names(name, one), SUMMARIES[one.summary], _note(one)]
        for name, one in IMAGE_FAMILIES.items()
    ]
    return table(header, rows)


def _names(name: str, family: Family) -> list[str]:
    return [family.title, f"`{name}`", f"`{family.example}`"]


def _length(family: Family) -> str:
    return f"{family.positions:,}" if family.positions else "any"


def _note(family: Family) -> str:
    if family.why_not:
        return f"refused: {family.why_not}"
    notes = [
        NOTES.get(family.image_input, ""),
        ONE_LAYER if family.shares_layers else "",
        f"needs the extra `{family.extra}`" if family.extra else "",
        "" if family.has_graph else "no ONNX graph: predicts with PyTorch",
    ]
    return "; ".join(filter(None, notes))


TABLES = {"text-encoders": texts, "image-encoders": images}
