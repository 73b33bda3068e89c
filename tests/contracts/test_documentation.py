"""What README.md and the guides tell a reader to type exists, as do the files that they link to."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from mvcn.cli.commands import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"(?:^|\s)(?:-m )?mvcn ")
LAUNCHERS = ("mvcn ", "$ mvcn ", "torchrun ", "accelerate launch ", "MVCN_API_KEY=")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)")


def lines_of(page):
    """Yield the lines of the code blocks, continued ones joined, without comments."""
    for block in BLOCK.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.partition(" #")[0].strip()


def commands_of(page):
    return [
        PROGRAM.split(line, maxsplit=1)[1]
        for line in lines_of(page)
        if line.startswith(LAUNCHERS) and PROGRAM.search(line) and " ... " not in line
    ]


def inside(path):
    return str(path.relative_to(ROOT))


WITH_COMMANDS = [page for page in PAGES if commands_of(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=inside)
def test_commands_have_the_options_that_the_pages_type(page):
    for line in commands_of(page):
        name, *arguments = shlex.split(line)
        load(name).make_context(name, arguments)  # raises for what the command does not take


def test_the_readme_and_the_guides_have_commands():
    assert {"README.md", "docs/start.md", "docs/how-to/analyst.md"} <= set(
        map(inside, WITH_COMMANDS)
    )


@pytest.mark.parametrize("page", PAGES, ids=inside)
def test_targets_extras_and_files_exist(page):
    text = page.read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    typed = [line.split()[1] for line in lines_of(page) if line.startswith("make ")]
    assert set(typed) <= targets
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = set(re.findall(r"pip install [^\n`]*'(?:\.|mvcn)\[([\w,]+)\]'", text))
    assert {one for names in named for one in names.split(",")} <= set(
        extras["optional-dependencies"]
    )
    for place, anchor in LINK.findall(text):
        target = page.parent / place
        assert target.exists(), place
        assert not anchor or anchor.removeprefix("#") in anchors_of(target), place + anchor


def test_the_readme_is_short_and_begins_with_a_picture():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 170
    assert text[: text.index("## ")].count("![") == 1  # before the first section
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert max(table.count("\n") - 2 for table in tables) <= 8, "rows below header and line"


def anchors_of(page):
    """Return the anchors of a page's headings, as GitHub and the built site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}
