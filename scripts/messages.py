"""Print every message of the package: errors, warnings, and what commands say.

Run from the repository's root: ``python -m scripts.messages``. Read them one by one after a change:
is each one sentence of plain English that says what is wrong, where, and what to type?
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import typer

SOURCE = Path("src") / "mvcn"
CALLS = ("echo", "tell", "warn", "warning", "BadParameter", "needs_extra")
"""Functions whose arguments are shown to a user, besides classes of errors."""


def main() -> None:
    """Print the messages, by file and line, and how many there are."""
    found = [one for path in sorted(SOURCE.rglob("*.py")) for one in messages(path)]
    for place, text in found:
        typer.echo(f"{place}\n    {text}")
    typer.echo(f"{len(found)} messages.")


def messages(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place and text of each message of a file; what is filled in stands in braces."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args and _is_shown(_name(node.func)):
            text = " ".join(filter(None, map(_text, node.args)))
            if text.strip():
                yield f"{path}:{node.lineno}", text


def _is_shown(name: str) -> bool:
    return name in CALLS or name.endswith("Error")


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def _text(node: ast.expr) -> str:
    """Return the words of an expression."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(map(_text, parts))
        case ast.FormattedValue(value):
            return f"{{{ast.unparse(value)}}}"
        case ast.BinOp(left, ast.Add(), right):
            return _text(left) + _text(right)
        case ast.IfExp(_, one, other):
            return f"{_text(one)} | {_text(other)}"
    return f"{{{ast.unparse(node)}}}"


if __name__ == "__main__":
    typer.run(main)
