"""Check that the documents hold: examples run, commands and tests exist, the map is true.

Run ``make docs``. It prints what is wrong, one line each, and exits with 1 if anything is. That
links lead somewhere is checked where the site is built.
"""

import ast
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "skgbnf"
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"\]\((\S+\.py) \"(test_\w+)\"\)")
COMMAND = re.compile(r"`make ([a-z-]+)")
ROOM = re.compile(r"\b(\w+)(?:\.py|/)(?=\s|$)")


def main() -> int:
    problems = []
    for path in DOCUMENTS:
        text = path.read_text()
        checks = (broken_examples, unknown_commands, missing_tests)
        for problem in (found for check in checks for found in check(path, text)):
            problems.append(f"{path.relative_to(ROOT)}: {problem}")
    problems += [
        f"README.md: {problem}" for problem in map_errors((ROOT / "README.md").read_text())
    ]
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


def map_errors(text: str) -> Iterator[str]:
    """Rooms missing from the drawn map, and imports that do not point down in it."""
    level = drawn_levels(text)
    rooms = {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    rooms |= {
        path.parent.name: [*path.parent.rglob("*.py")] for path in PACKAGE.glob("*/__init__.py")
    }
    for name in sorted(rooms.keys() ^ level.keys()):
        yield f"room {name} is {'not in the module map' if name in rooms else 'drawn but gone'}"
    for room in sorted(rooms.keys() & level.keys()):
        imported = {name for path in rooms[room] for name in imported_rooms(path)} - {room}
        for other in sorted(imported & level.keys()):
            if level[other] <= level[room]:
                yield f"{room} imports {other}, which is drawn above or beside it"


def drawn_levels(text: str) -> dict[str, int]:
    """The line of the map that each room is on."""
    section = text.partition("## Module map")[2]
    drawing = next((m[2] for m in FENCE.finditer(section) if m[1] == "text"), "")
    return {room: i for i, line in enumerate(drawing.splitlines()) for room in ROOM.findall(line)}


def imported_rooms(path: Path) -> Iterator[str]:
    """Rooms of the package that a file imports, wherever in it the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE.name and rest:
                yield rest.split(".")[0]


if __name__ == "__main__":
    sys.exit(main())
