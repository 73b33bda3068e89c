"""The commands of the first pages run, one page after the other, and print what is shown there."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from mvcn.data.datasets.mvsa import POLARITIES
from mvcn.data.synthetic import generate_posts, write_table
from scripts.outputs import COLUMNS

ROOT = Path(__file__).parents[2]
FIRST_PAGES = ("README.md", "docs/start.md", "docs/how-to/analyst.md")
MORE_PAGES = ("docs/data.md", "docs/explain.md", "docs/models.md", "docs/how-to/bulk.md")
OUTPUTS = json.loads((ROOT / "results" / "outputs.json").read_text("utf-8"))["outputs"]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROMISE = ("--precision", "0.1")
"""What the tiny models of a test can promise, in place of the page's precision."""
ELSEWHERE = (
    *("MVSA", "HFM", "shards", "s3://", "_encoder="),
    *("mvcn compare", "mvcn serve", "--split test"),
)
"""Commands with these need data or encoders that are not here, or have tests of their own."""
RUN = "runs/mine"
PLACEHOLDERS = {"RUN": RUN, "OTHER": "runs/other"}
DEPENDS = (
    *("Texts are read", "# texts are longer", "# posts are nearly equal", "Warning: # texts are"),
    *("Better than", "What more posts give", "With --for", "Labels need", "# of them have no"),
    *("error #", "warning #", "information #", "Nothing found", "Writing ONNX", "Wrote ONNX"),
)
"""How lines begin that say what is wrong with some posts, how good some model is, or which graphs
it has."""


def commands_of(page):
    blocks = BLOCK.findall((ROOT / page).read_text("utf-8"))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [line.removeprefix("$ ").partition(" #")[0] for line in lines]
    return [
        command
        for command in commands
        if command.startswith("mvcn ") and not any(word in command for word in ELSEWHERE)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the pages speak of: tables of posts, as `scripts.outputs` writes them, and an image."""
    folder = tmp_path_factory.mktemp("files")
    for name, seed in (("posts", 1), ("dev", 2), ("new", 3)):
        write_table(generate_posts(40, seed=seed), folder / name)
        with (folder / name / "posts.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, name_of_page in zip(rows, ("16", "21", "a7"), strict=False):
            row["id"] = name_of_page
        columns = COLUMNS[:-1] if name == "new" else COLUMNS
        cells = [(row["id"], row["text"], f"{name}/{row['image']}", row["label"]) for row in rows]
        table = [columns, *(row[: len(columns)] for row in cells)]
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";").writerows(table)
    shutil.copy(folder / table[1][2], folder / "beach.jpg")
    cells = {"tweet": "text", "photo": "image", "label": "label"}
    tweets = {theirs: [row[ours] for row in rows] for theirs, ours in cells.items()}
    tweets["photo"] = [f"new/{path}" for path in tweets["photo"]]
    pq.write_table(pa.table(tweets), folder / "tweets.parquet")
    (folder / "posts").mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": tweets["tweet"]}), folder / "posts" / "a.parquet")
    book = Workbook()
    for row in table:
        book.active.append(row)
    book.save(folder / "new.xlsx")
    return folder


def masked(text):
    """Lines with # for each number and class, and one blank for several."""
    plain = re.sub(rf"[\d.,]*\d|'?\b({'|'.join(POLARITIES)})\b'?", "#", text)
    return [" ".join(line.split()) for line in plain.splitlines()]


@pytest.mark.parametrize("page", FIRST_PAGES + MORE_PAGES)
def test_the_commands_of_a_page_run(page, files, mvcn, tiny_options, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    commands = commands_of(page)
    assert commands
    if not commands[0].startswith("mvcn train") and page in MORE_PAGES:
        commands.insert(0, f"mvcn train posts.csv --output {RUN}")
    for command in commands:
        name, *arguments = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]
        if name == "train":
            again = ["--overwrite"] if Path(RUN).exists() else []
            arguments += [*tiny_options, "--set", "training.members=2", *again]
        if PLACEHOLDERS["OTHER"] in arguments:
            shutil.copytree(RUN, PLACEHOLDERS["OTHER"])
        if PROMISE[0] in arguments:
            arguments[arguments.index(PROMISE[0]) + 1] = PROMISE[1]
        code, out, errors = mvcn(name, *arguments)
        assert code == 0, (name, arguments, out, errors)
        shown = masked(OUTPUTS.get(command, ""))
        missing = {line for line in shown if not line.startswith(DEPENDS)} - {*masked(out + errors)}
        assert not missing, (command, out, errors)


def test_what_a_new_user_sees_was_printed():
    shown = {command for page in FIRST_PAGES for command in commands_of(page)} & set(OUTPUTS)
    assert {command.split()[1] for command in shown} >= {"audit", "train", "report", "predict"}
