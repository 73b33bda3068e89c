"""Self-contained HTML pages."""

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from mvcn.files import atomic_write

JPEG_QUALITY = 75
TEMPLATES = Environment(loader=PackageLoader("mvcn.report", ""), autoescape=True, trim_blocks=True)


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> None:
    """Write a page, or nothing if it fails.

    Args:
        path: Where the page goes.
        template: Name of a template of this package, which extends ``base.html.jinja``.
        content: Variables of the template; the base template needs `mark` and `title`.
    """
    page = TEMPLATES.get_template(template)
    with atomic_write(path) as file:  # a lone surrogate, which JSON can hold, has no UTF-8
        file.write(page.render(content).encode("utf-8", "replace").decode("utf-8"))


def png_address(content: bytes) -> str:
    """Return a PNG as a data address."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def jpeg_address(picture: Image.Image) -> str:
    """Return a picture as a data address of a JPEG."""
    picture.save(stream := BytesIO(), "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
