"""Check that the documents hold: examples run, commands and tests exist.

Run ``make docs``. It prints what is wrong, one line each, and exits with 1 if anything is. The
built site is checked by ``check_site.py``.
"""

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"\]\((\S+\.py) \"(test_\w+)\"\)")
COMMAND = re.compile(r"`make ([a-z-]+)")


def main() -> int:
    problems = []
    for path in DOCUMENTS:
        text = path.read_text()
        checks = (broken_examples, unknown_commands, missing_tests)
        for problem in (found for check in checks for found in check(path, text)):
            problems.append(f"{path.relative_to(ROOT)}: {problem}")
    print("\n".join(problems) or f"{len(DOCUMENTS)} documents hold.")
    return 1 if problems else 0


def broken_examples(path: Path, text: str) -> Iterator[str]:
    """Run the Python examples of one document, in order, in one namespace."""
    examples = [match for match in FENCE.finditer(text) if match[1] == "python"]
    namespace: dict = {"__name__": path.stem}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # examples may write files
        try:
            for match in examples:
                n_lines_before = text[: match.start(2)].count("\n")
                exec(compile("\n" * n_lines_before + match[2], str(path), "exec"), namespace)
        except Exception:
            yield f"an example fails\n{traceback.format_exc()}"
        finally:
            os.chdir(before)


def unknown_commands(path: Path, text: str) -> Iterator[str]:
    """Commands ``make NAME`` that the Makefile does not have."""
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    yield from (f"there is no `make {n}`" for n in COMMAND.findall(text) if n not in known)


def missing_tests(path: Path, text: str) -> Iterator[str]:
    """Tests that a link names in its title and whose file does not have them."""
    for file, test in TEST.findall(text):
        if f"def {test}(" not in (path.parent / file).read_text():
            yield f"{file} has no test {test}"


if __name__ == "__main__":
    sys.exit(main())
