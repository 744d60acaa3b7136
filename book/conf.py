"""Sphinx's settings for the book. `cyborg_utils/run/site.py` lays out its pages and calls Sphinx, without the network."""

import os

project = "Cyborg Data"
author = "The cyborg-data authors"
copyright = "the cyborg-data authors, MIT licence"
extensions = ["myst_nb", "sphinx_design", "sphinxcontrib.bibtex"]
exclude_patterns = ["README.md"]  # the front page includes a part of it
bibtex_bibfiles = ["references.bib"]

# chapters are executed notebooks: nothing runs here, code is folded, and progress on standard error is left out
nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Cyborg Data"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_sphinx = False
if source := os.environ.get("CYBORG_SOURCE_URL"):  # e.g. https://github.com/owner/name: a link in the foot of every page
    html_theme_options = {"footer_icons": [{"name": "Source code", "url": source, "html": "Source code", "class": ""}]}
linkcheck_timeout = 20
