"""Sphinx settings of this site (``make docs``): MyST for Markdown, autodoc and napoleon; warnings are errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

project = "RUN"
author = "The RUN developers"
copyright = "the RUN developers, MIT licence"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "configuration",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_build", "results/data"]
html_theme = "furo"
html_title = "RUN"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Labels and classes of libraries that have no copy here: there is no intersphinx, because the build uses no network.
nitpicky = False
suppress_warnings = ["ref.python"]
