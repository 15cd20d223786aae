"""What `make docs` looks for in the built site: each defect is found, and nothing else is."""

from pathlib import Path

import check_site
import pytest

PAGE = """<html><head><link rel="stylesheet" href="site.css"></head><body><article>
<h1 id="top">Title</h1><p>Costs $ 5 and <code>$x$</code>, with {inline}.</p>
<div class="math notranslate">{block}</div>
<div class="highlight"><pre>{code}</pre></div>
<img src="plot.png" alt="{alt}"><a href="{link}">next</a>
<div class="sphx-glr-thumbcontainer"><img src="plot.png" alt=""></div>
</article></body></html>"""
GOOD = {
    "inline": '<span class="math">\\(x_1\\)</span>',
    "block": "\\[\\begin{split}y = \\sum_k x_k\\end{split}\\]",
    "code": "x = 1\n" + "y" * 100,
    "alt": "a density",
    "link": "next.html#there",
}


def found_in(folder, capsys):
    """What the check prints of a site, line by line; none if it holds."""
    fails = check_site.main(folder)
    lines = capsys.readouterr().out.splitlines()
    return lines if fails else []


def write_site(folder, **changes):
    next_page = '<article><p id="there">text<a href="last.html">on</a></p></article>'
    (folder / "index.html").write_text(PAGE.format(**{**GOOD, **changes}))
    (folder / "next.html").write_text(next_page)
    (folder / "last.html").write_text("<article>text</article>")
    for name in ("site.css", "plot.png"):
        (folder / name).touch()


def test_a_site_without_defects_holds(tmp_path, monkeypatch, capsys):
    write_site(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert check_site.main(Path(".")) == 0
    assert "3 pages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": "<span>" + "y" * 50 + "</span>" + "z" * 51}, "101 characters: y"),
        ({"inline": "$x_1$"}, r"not rendered: $x_1$"),
        ({"inline": r"\frac{1}{2}"}, "not rendered"),
        ({"block": r"\[\nonsense{x}\]"}, "a formula is wrong"),
        ({"block": "x"}, "no delimiters"),
        ({"alt": " "}, "no alternative text: plot.png"),
        ({"link": "next.html#nowhere"}, "no place of its page: next.html#nowhere"),
    ],
)
def test_a_defect_is_found_once(tmp_path, capsys, changes, message):
    write_site(tmp_path, **changes)
    (found,) = found_in(tmp_path, capsys)
    assert found.startswith("index.html: ")
    assert message in found


def test_a_dead_link_is_found_and_what_only_it_led_to(tmp_path, capsys):
    write_site(tmp_path, link="no.html")
    dead, *far = found_in(tmp_path, capsys)
    assert dead == "index.html: a link leads nowhere: no.html"
    assert [line.split(":")[0] for line in far] == ["last.html", "next.html"]


def test_three_clicks_are_too_many(tmp_path, capsys):
    write_site(tmp_path)
    (tmp_path / "last.html").write_text('<a href="far.html">on</a>')
    (tmp_path / "far.html").write_text("text")
    (found,) = found_in(tmp_path, capsys)
    assert found.startswith("far.html: it takes more than 2 clicks")


def test_a_page_that_loads_from_elsewhere_needs_a_network(tmp_path, capsys):
    write_site(tmp_path)
    (tmp_path / "last.html").write_text('<script src="https://example.org/a.js"></script>')
    (found,) = found_in(tmp_path, capsys)
    assert found.endswith("https://example.org/a.js needs a network")
