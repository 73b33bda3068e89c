"""What commands print, below the commands of the pages."""

import re
import textwrap

from scripts import results

SHOWN = re.compile(r"^```\n\$ (?P<command>mvcn .*)\n(?P<output>(?:(?!```).*\n)*)```$", re.MULTILINE)
"""A block of one command, which a reader types after the sign of the shell, and its output."""
WIDTH = 90


def with_outputs(text: str) -> str:
    """Return a page with what its commands have printed, if they were run since they changed."""
    outputs = results.read("outputs").get("outputs", {})
    return SHOWN.sub(lambda block: _block(block, outputs.get(block["command"])), text)


def _block(block: re.Match[str], output: str | None) -> str:
    if output is None:
        return block[0]
    return f"```\n$ {block['command']}\n{folded(output)}\n```"


def folded(output: str) -> str:
    """Return lines as a terminal shows them that breaks between words."""
    lines = (textwrap.wrap(line, WIDTH, break_long_words=False) for line in output.splitlines())
    return "\n".join("\n".join(parts) for parts in lines)
