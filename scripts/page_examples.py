"""Draw the example images of the service's page, from generated posts."""

from io import BytesIO
from pathlib import Path
from typing import cast

from PIL import Image

from mvcn.data.synthetic import generate_posts

FOLDER = Path(__file__).parents[1] / "src" / "mvcn" / "serve" / "page" / "examples"
SEED = 11
POSTS = {"glad": 31, "sad": 22, "plain": 7, "torn": 10}
"""Name of the example -> number of the post whose image it shows."""
JPEG_QUALITY = 80


def main() -> None:
    """Write one JPEG an example, of about 10 kB."""
    posts = generate_posts(max(POSTS.values()) + 1, SEED)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, number in POSTS.items():
        image = Image.open(BytesIO(cast(bytes, posts[number].post.image)))
        image.save(FOLDER / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True)


if __name__ == "__main__":
    main()
