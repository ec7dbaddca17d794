"""Sphinx's settings for the documentation site; `build.py` prepares the pages and calls Sphinx."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(os.environ.get("CHAINRULE_DOCS_SOURCE", ROOT / "build" / "docs-source"))
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

os.environ.setdefault("PYTHONPATH", str(ROOT))

import chainrule  # noqa: E402

project = "chainrule"
author = "The chainrule developers"
version = release = chainrule.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "mathml",
    "docstrings",
    "interactive",
]
exclude_patterns = ["_ext", "_static", "build.py"]
suppress_warnings = ["mystnb.unknown_mime_type"]
nitpicky = False

# ----- pages --------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# ----- code that runs -----------------------------------------------------------------------------------------------

nb_execution_mode = "cache"
nb_execution_cache_path = os.environ.get("CHAINRULE_DOCS_CACHE", str(SOURCE.parent / "docs-cache"))
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_in_temp = False
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_number_source_lines = False

# ----- the reference ------------------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # `Any` stands for arrays, which says nothing to a reader
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# ----- looks --------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "chainrule"
html_static_path = [str(ROOT / "docs" / "_static")]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # the pages it is made of cannot be fetched from a disk
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2f6f3e", "color-brand-content": "#23608f"},
    "dark_css_variables": {"color-brand-primary": "#8fd19e", "color-brand-content": "#7fbbe8"},
}
pygments_style = "tango"
pygments_dark_style = "github-dark"
