"""Run the commands that the documentation shows with what they print, on posts of MVSA-Single.

Run from the repository's root: ``python -m scripts.outputs MVSA_Single``. It writes
results/outputs.json, which ``python -m scripts.tables`` puts below the commands, and the picture of
the report, for which chromium must be installed.
"""

import csv
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from playwright.sync_api import sync_playwright

from mvcn.config import DataConfig
from mvcn.data.reading import read_posts
from mvcn.types import Post
from scripts import results
from scripts.pictures import FIGURES, in_fewer_colors
from scripts.tables.outputs import SHOWN
from scripts.tables.pages import PAGES

NAME = "outputs"
FOLDER = Path("runs/outputs")
COLUMNS = ("tweet_id", "Tweet", "img", "sentiment")
FLAGS = ("--no-sandbox", "--disable-gpu")
BAR = re.compile(r"\d+%\|")


def main(root: Path) -> None:
    """Run each command once, in the order of the pages."""
    write_posts(root)
    outputs = {}
    for command in dict.fromkeys(shown_commands()):
        typer.echo(f"$ {command}")
        outputs[command] = printed(command)
        typer.echo(outputs[command])
    results.write(NAME, {"outputs": outputs})
    (FIGURES / "report.png").write_bytes(in_fewer_colors(screenshot(FOLDER / "report.html")))


def shown_commands() -> Iterator[str]:
    """Yield the commands of all pages that are shown with what they print."""
    for page in PAGES:
        yield from (block["command"] for block in SHOWN.finditer(page.read_text("utf-8")))


def write_posts(root: Path) -> None:
    """Write posts.csv of the train posts, dev.csv, new.csv without labels, and their images."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "images").mkdir(parents=True)
    config = DataConfig(name="mvsa-single", root=root, splits=root / "splits")
    train, dev = (read_posts(config, split).posts for split in ("train", "dev"))
    _write(FOLDER / "posts.csv", train, COLUMNS)
    _write(FOLDER / "dev.csv", dev, COLUMNS)
    _write(FOLDER / "new.csv", dev, COLUMNS[:-1])
    (FOLDER / "beach.jpg").symlink_to(Path(str(dev[0].image)).resolve())


def _write(path: Path, posts: Sequence[Post], columns: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(columns)
        for post in posts:
            image = path.parent / "images" / f"{post.id}.jpg"
            if not image.is_symlink():
                image.symlink_to(Path(str(post.image)).resolve())
            row = [post.id, post.text, f"images/{image.name}", post.label]
            writer.writerow(row[: len(columns)])


def printed(command: str) -> str:
    """Return what a command prints, without progress bars."""
    arguments = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(
        arguments,
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    lines = [line.rpartition("\r")[2] for line in done.stdout.splitlines()]
    return "\n".join(line for line in lines if line.strip() and not BAR.search(line))


def screenshot(page: Path) -> bytes:
    """Return what a browser shows of a page at first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        size = {"width": 1000, "height": 800}
        tab = browser.new_page(viewport=size, device_scale_factor=1.5)
        tab.goto(page.resolve().as_uri())
        return bytes(tab.screenshot())


if __name__ == "__main__":
    typer.run(main)
