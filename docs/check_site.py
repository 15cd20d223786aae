"""Check the built site: links, code, formulas, pictures, and the way to each page.

    python docs/check_site.py docs/_build/html

It needs neither a network nor a browser. It prints what is wrong, one line each, and exits with 1
if anything is. `make docs` runs it on what Sphinx wrote.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

LINE_LENGTH = 100
"""Characters of code that fit beside both sidebars at 1,400 pixels, by `static/site.css`."""

CLICKS = 2
NOT_PAGES = {"genindex.html", "py-modindex.html", "search.html"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
TEX = re.compile(r"\$[^$\s][^$]*\$|\\(frac|int|log|mathrm|prod|sum|sqrt)\b|\\\(|\\\[")
DELIMITERS = re.compile(r"^\s*\\[(\[](.*)\\[)\]]\s*$", re.DOTALL)


@dataclass
class Page(HTMLParser):
    """What the checks need of one page: collected by `feed`.

    `open` has the element and classes around the current place, innermost last.
    """

    open: list[tuple[str, set[str]]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script") and "src" in values:
            self.sources.append(values["src"])
        if tag == "link" and values.get("rel") == "stylesheet":
            self.sources.append(values["href"])
        if tag == "img" and not values.get("alt", "").strip() and not self.within_link_of_gallery():
            self.unlabelled.append(values.get("src", ""))
        if tag not in VOID:
            self.open.append((tag, set(values.get("class", "").split())))
            self.start_text(tag)

    def start_text(self, tag: str) -> None:
        """Begin a new piece of code or a new formula, which may arrive in several parts."""
        if tag == "pre":
            self.code.append("")
        if "math" in self.open[-1][1]:
            self.formulas.append("")

    def handle_endtag(self, tag: str) -> None:
        if self.within_tag(tag):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.within_tag("pre"):
            self.code[-1] += data
        elif self.within_class("math"):
            self.formulas[-1] += data
        elif self.within_tag("article") and not self.within_tag("code", "script", "style"):
            self.prose.append(data)

    def within_tag(self, *tags: str) -> bool:
        return any(tag in tags for tag, _ in self.open)

    def within_class(self, name: str) -> bool:
        return any(name in classes for _, classes in self.open)

    def within_link_of_gallery(self) -> bool:
        """The title of an example stands beside its thumbnail, which therefore repeats nothing."""
        return self.within_class("sphx-glr-thumbcontainer")


def main(folder: Path) -> int:
    site = folder.resolve()
    pages = pages_of(site)
    problems = [f"{path.relative_to(site)}: {text}" for path, text in problems_of(site, pages)]
    print("\n".join(problems) or f"The site holds: {len(pages)} pages.")
    return 1 if problems else 0


def problems_of(site: Path, pages: dict[Path, Page]) -> Iterator[tuple[Path, str]]:
    for path, page in pages.items():
        for check in (cut_code, raw_formulas, wrong_formulas, unlabelled_pictures):
            yield from ((path, problem) for problem in check(page))
        yield from ((path, problem) for problem in dead_links(path, pages))
    yield from far_pages(site, pages)


def pages_of(site: Path) -> dict[Path, Page]:
    pages = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            pages[path] = Page()
            pages[path].feed(path.read_text())
    return pages


def cut_code(page: Page) -> Iterator[str]:
    for line in "\n".join(page.code).splitlines():
        if len(line) > LINE_LENGTH:
            yield f"a line of code has {len(line)} characters: {line[:40].strip()} ..."


def raw_formulas(page: Page) -> Iterator[str]:
    for match in TEX.finditer("".join(page.prose)):
        yield f"a formula is not rendered: {match[0][:60]}"


def wrong_formulas(page: Page) -> Iterator[str]:
    """Formulas that do not parse; the browser would draw an error instead."""
    for formula in page.formulas:
        text = DELIMITERS.match(formula)
        try:
            if text is None:
                raise MathError("it has no delimiters")
            tex2mathml(re.sub(r"\\(begin|end)\{split\}", "", text[1]).strip(), as_block=True)
        except MathError as error:
            yield f"a formula is wrong ({error}): {formula.strip()[:60]}"


def unlabelled_pictures(page: Page) -> Iterator[str]:
    yield from (f"a picture has no alternative text: {source}" for source in page.unlabelled)


def dead_links(path: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Links within the site that lead nowhere, and parts of the page that need a network."""
    page = pages[path]
    for source in page.sources:
        if urlsplit(source).scheme in ("http", "https"):
            yield f"{source} needs a network"
        elif not target_of(path, source)[0].exists():
            yield f"{source} does not exist"
    for link in page.links:
        if urlsplit(link).scheme:
            continue
        target, anchor = target_of(path, link)
        if not target.exists():
            yield f"a link leads nowhere: {link}"
        elif anchor and target in pages and anchor not in pages[target].anchors:
            yield f"a link leads to no place of its page: {link}"


def target_of(path: Path, link: str) -> tuple[Path, str]:
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    return target, unquote(parts.fragment)


def far_pages(site: Path, pages: dict[Path, Page]) -> Iterator[tuple[Path, str]]:
    """Pages that take more than two clicks from the landing page."""
    reached = {site / "index.html"}
    for _ in range(CLICKS):
        reached |= {
            target_of(path, link)[0]
            for path in reached & pages.keys()
            for link in pages[path].links
            if not urlsplit(link).scheme
        }
    for path in sorted(pages.keys() - reached):
        if path.name not in NOT_PAGES:
            yield path, f"it takes more than {CLICKS} clicks to come here"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
