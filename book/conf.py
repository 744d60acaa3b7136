"""Sphinx's settings for the book. `cyborg_utils/run/site.py` lays out its pages and calls Sphinx, without the network."""

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

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


# The first mention of a term on a page leads to the glossary, if it is no everyday word (QWK, Teacher, synthetic score).
GLOSSARY = (Path(__file__).parent / "glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1]
TERMS = [term for term in re.findall(r"^(\S.*)$", GLOSSARY, flags=re.MULTILINE) if re.search("[A-Z ]", term)]
NAMED = re.compile(rf"\b({'|'.join(sorted(map(re.escape, TERMS), key=len, reverse=True))})\b")
NOT_IN = (
    nodes.literal,
    nodes.literal_block,
    nodes.reference,
    addnodes.pending_xref,
    nodes.title,
    nodes.caption,
    nodes.raw,
    nodes.Invisible,
)


def link_terms(app, doctree):
    if not app.env.docname.startswith(("results/", "docs/")):
        return
    seen = set()
    for text in list(doctree.findall(nodes.Text)):
        within, node = text.parent, text.parent
        while node is not None and not isinstance(node, NOT_IN):
            node = node.parent
        if node is not None:
            continue
        parts = []
        for at, part in enumerate(NAMED.split(text)):  # text, term, text, ...
            if at % 2 and part not in seen:
                seen.add(part)
                word = nodes.inline("", part, classes=["std-term"])
                to = {"refdomain": "std", "reftype": "term", "reftarget": part, "refexplicit": True, "refwarn": True}
                parts.append(addnodes.pending_xref("", word, **to))
            elif part:
                parts.append(nodes.Text(part))
        within.replace(text, parts)


def setup(app):
    app.connect("doctree-read", link_terms)
