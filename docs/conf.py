"""The documentation site: ``make docs`` builds it into ``docs/_build``, without a network."""

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import skgbnf

project = "skgbnf"
author = copyright = "The skgbnf developers"
version = release = skgbnf.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "templates"]
templates_path = ["templates"]
smartquotes = False  # they would bend the quotes of default="auto"
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 4
autodoc_typehints = "none"  # docstrings give shapes and units as well
numpydoc_show_class_members = False
html_math_renderer = "mathml"

html_theme = "pydata_sphinx_theme"
html_title = f"skgbnf {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_sidebars = {
    page: []
    for page in (
        "getting_started",
        "[b-d]*",
        "families",
        "method",
        "outliers",
        "reliability",
        "samples",
        "vae",
    )
}
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "ignore_pattern": "demo",  # a script of its own, run by `make demo`
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skgbnf",),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}


def setup(app):
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("source-read", place_readme)


def write_mathml(translator, node):
    """Formulas as MathML, which browsers draw by themselves; MathJax would need a network."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def place_readme(app, docname, source):
    """The README is the landing page; links from it and to it are those of that page."""
    if docname == "index":
        readme = Path(app.srcdir, "..", "README.md").read_text()
        source[0] = re.sub(r"\]\((?![a-z]+:|#)", "](../", readme) + source[0]
    source[0] = source[0].replace("](../README.md", "](index.md")
