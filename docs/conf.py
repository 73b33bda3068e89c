"""How Sphinx builds the site: ``make docs``, without network, warnings as errors."""

import os

project = "mvcn"
author = "the mvcn authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = "mvcn"
html_static_path = []
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_custom_sections = ["Source", "Shape"]
default_role = "code"
os.environ["PYTHONWARNINGS"] = "default"  # of the notebooks' kernels
