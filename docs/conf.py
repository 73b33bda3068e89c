"""How Sphinx builds the site: ``make docs``, without network, warnings as errors."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "mvcn"
author = "the mvcn authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = "mvcn"
html_static_path = []
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests run the notebooks, and compare what they print
nb_merge_streams = True
nb_output_stderr = "remove"
html_show_copyright = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_custom_sections = ["Source", "Shape"]
default_role = "code"
html_math_renderer = "mathml"


def setup(app: Any) -> None:
    """Let browsers draw formulas themselves: MathJax would have to be fetched by each reader."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))


def inline_math(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(translator: Any, node: nodes.math_block) -> None:
    """Write a formula of its own, line by line."""
    lines = node.astext().replace("&", "").split("\\\\")
    formulas = "".join(f"<div>{convert(line, display='block')}</div>" for line in lines)
    translator.body.append(f'<div class="math">{formulas}</div>')
    raise nodes.SkipNode
