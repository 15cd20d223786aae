"""The documentation site: ``make docs`` builds it into ``docs/_build``, without a network."""

import re
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

import skgbnf

project = "skgbnf"
author = copyright = "The skgbnf developers"
version = release = skgbnf.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # puts a copy of it into the site, so that no network is needed
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "templates"]
templates_path = ["templates"]
smartquotes = False  # they would bend the quotes of default="auto"
toc_object_entries_show_parents = "hide"
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
autodoc_typehints = "none"  # docstrings give shapes and units as well
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"skgbnf {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_sidebars = {
    page: []
    for page in ("getting_started", "[b-d]*", "families", "method", "outliers", "[p-s]*", "vae")
}
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "subsection_order": ExplicitOrder(
        [f"../examples/{group}" for group in ("densities", "tables", "choosing", "applications")]
    ),
    "ignore_pattern": "demo",  # a script of its own, run by `make demo`
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skgbnf",),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}


ROOT_PAGES = {"index": "README.md", "contributing": "CONTRIBUTING.md"}


def setup(app):
    app.connect("source-read", place_root_pages)


def place_root_pages(app, docname, source):
    """README and CONTRIBUTING are pages of the site too, and links lead to these pages."""
    if docname in ROOT_PAGES:
        text = Path(app.srcdir, "..", ROOT_PAGES[docname]).read_text()
        source[0] = re.sub(r"\]\((?![a-z]+:|#)", "](../", text) + source[0]
    for page, file in ROOT_PAGES.items():
        source[0] = source[0].replace(f"](../{file}", f"]({page}.md")
