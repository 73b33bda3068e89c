"""The tasks, and their posts: generated, the same ones for the same draw."""

import csv
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.random import Generator

from mvcn.types import Post
from scripts.studies.tasks import words
from scripts.studies.tasks.images import SHAPES, TEXTURES, DrawImage, draw_shape, draw_texture
from scripts.studies.tasks.texts import WriteText, long_writer, writer

IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learned, and from how many posts."""

    about: str
    """A phrase for the table."""
    classes: Mapping[str, int]
    """Class -> how frequent it is, relative to the others."""
    train: int
    """Labelled posts to learn from."""
    fresh: int
    """Posts to score on."""
    text: WriteText | None = None
    image: DrawImage | None = None
    draws: int = 3
    """How often posts are drawn anew, for scores with a deviation."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Posts of a task."""

    train: Sequence[Post]
    fresh: Sequence[Post]

    @property
    def digest(self) -> str:
        """Digest of all that is in the posts."""
        found = hashlib.blake2b(digest_size=16)
        for post in (*self.train, *self.fresh):
            found.update(repr((post.id, post.text, post.image, post.label)).encode())
        return found.hexdigest()


def generate(name: str, draw: int) -> Draw:
    """Generate the posts of a task; they depend on its name and the number of the draw alone.

    No two posts have the same text and image.
    """
    task = TASKS[name]
    generator = np.random.default_rng([zlib.crc32(name.encode()), draw])
    seen: set[tuple[str, bytes | None]] = set()
    labels = [*_labels(task, task.train, generator), *_labels(task, task.fresh, generator)]
    posts = [_post(i, label, task, seen, generator) for i, label in enumerate(labels)]
    return Draw(posts[: task.train], posts[task.train :])


def write(posts: Sequence[Post], table: Path) -> Path:
    """Write a CSV file, and the images into a folder next to it; return the file."""
    columns = [name for name in ("text", "image") if any(getattr(post, name) for post in posts)]
    (table.parent / IMAGES).mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", *columns, "label"])
        for post in posts:
            image = f"{IMAGES}/{post.id}.jpg"
            if post.image is not None:
                (table.parent / image).write_bytes(cast(bytes, post.image))
            cells = {"text": post.text, "image": image}
            rows.writerow([post.id, *(cells[name] for name in columns), post.label])
    return table


def _labels(task: Task, count: int, generator: Generator) -> list[str]:
    """Return labels as frequent as the task's classes, in any order."""
    once = [name for name, weight in task.classes.items() for _ in range(weight)]
    return cast(list[str], generator.permutation(np.resize(once, count)).tolist())


def _post(
    number: int,
    label: str,
    task: Task,
    seen: set[tuple[str, bytes | None]],
    generator: Generator,
) -> Post:
    content = None
    while content is None or content in seen:
        text = task.text(label, generator) if task.text else ""
        content = text, task.image(label, generator) if task.image else None
    seen.add(content)
    return Post(f"{number:05d}", *content, label)


def _of_any_class(
    make: Callable[[str, Generator], Any], classes: Sequence[str]
) -> Callable[[str, Generator], Any]:
    """Return what makes a text or image of a random class in place of the given one."""
    return lambda _, generator: make(classes[generator.integers(len(classes))], generator)


def _equal(names: Sequence[str] | Mapping[str, Any]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


TASKS = {
    "intents": Task(
        "60 classes of 12 short texts, own words decide",
        _equal(words.SUPPORT.cues),
        720,
        1020,
        writer(words.SUPPORT, 0.99),
    ),
    "long": Task(
        "texts of 120 words whose last words decide",
        _equal(words.VERDICTS.cues),
        300,
        1000,
        long_writer(words.VERDICTS, 0.96),
    ),
    "emoji": Task("emoji decide", _equal(words.CHAT.cues), 300, 1000, writer(words.CHAT, 0.95)),
    "chinese": Task(
        "Chinese texts", _equal(words.CHINESE.cues), 300, 1000, writer(words.CHINESE, 0.95)
    ),
    "korean": Task(
        "Korean texts", _equal(words.KOREAN.cues), 300, 1000, writer(words.KOREAN, 0.95)
    ),
    "hindi": Task("Hindi texts", _equal(words.HINDI.cues), 300, 1000, writer(words.HINDI, 0.95)),
    "rare": Task(
        "2 classes at 1:40, words decide",
        {"hazard": 1, "routine": 40},
        2000,
        4100,
        writer(words.REPORTS, 0.985),
        draws=1,
    ),
    "images": Task(
        "images without texts, textures decide",
        _equal(TEXTURES),
        300,
        600,
        image=draw_texture,
    ),
    "texts": Task(
        "texts without images",
        _equal(words.SENTIMENT.cues),
        300,
        1000,
        writer(words.SENTIMENT, 0.9),
    ),
    "text-decides": Task(
        "texts with images, words decide",
        _equal(words.COMPLAINTS.cues),
        300,
        600,
        writer(words.COMPLAINTS, 0.93),
        _of_any_class(draw_shape, SHAPES),
    ),
    "image-decides": Task(
        "texts with images, the image decides",
        _equal(SHAPES),
        300,
        600,
        _of_any_class(writer(words.SENTIMENT, 0.9), [*words.SENTIMENT.cues]),
        draw_shape,
    ),
}
"""Name of a task -> what it is."""
