"""The commands of the first pages run as they stand there, one page after the other."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest
from openpyxl import Workbook

from mvcn.data.synthetic import generate_posts, write_table

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/start.md", "docs/how-to/analyst.md")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROMISE = ("--precision", "0.1")
"""What the tiny models of a test can promise, in place of the page's precision."""
ELSEWHERE = ("MVSA_Single", "mvcn compare", "mvcn serve", "mvcn bulk")
"""Commands with these need data that is not here, or have tests of their own."""


def commands_of(page):
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [line.removeprefix("$ ").partition(" #")[0] for line in lines]
    return [
        shlex.split(command)[1:]
        for command in commands
        if command.startswith("mvcn ") and not any(word in command for word in ELSEWHERE)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the pages speak of: tables of posts and an image."""
    folder = tmp_path_factory.mktemp("files")
    for name, seed in (("posts", 1), ("dev", 2), ("new", 3)):
        write_table(generate_posts(40, seed=seed), folder / name)
        with (folder / name / "posts.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        rows[0]["id"] = "4711"
        for row in rows:
            row["image"] = f"{name}/{row['image']}"
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    shutil.copy(folder / "new" / rows[1]["image"].partition("/")[2], folder / "beach.jpg")
    book = Workbook()
    for row in [list(rows[0]), *(list(row.values()) for row in rows)]:
        book.active.append(row)
    book.save(folder / "new.xlsx")
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, files, mvcn, tiny_options, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    commands = commands_of(page)
    assert commands
    for name, *arguments in commands:
        if name == "train":
            again = ["--overwrite"] if (tmp_path / "runs/mine").exists() else []
            arguments += [*tiny_options, "--set", "training.members=2", *again]
        if PROMISE[0] in arguments:
            arguments[arguments.index(PROMISE[0]) + 1] = PROMISE[1]
        code, out, errors = mvcn(name, *arguments)
        assert code == 0, (name, arguments, out, errors)
