"""The module map: the README draws the modules that exist, and imports point down in it."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "skgbnf"


def drawn_floors():
    """Floors of the module map in the README, from the ground up, each a list of rooms."""
    section = (ROOT / "README.md").read_text().partition("## Module map")[2]
    drawing = re.search(r"^```text\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)[1]
    floors = re.split(r"^ *\|$", drawing, flags=re.MULTILINE)
    return [re.findall(r"^ +(\w+)(?:\.py|/) ", floor, re.MULTILINE) for floor in floors[::-1]]


FLOOR_OF = {room: number for number, rooms in enumerate(drawn_floors()) for room in rooms}

FLOWS_MAY_IMPORT = {"torch", "zuko", "numpy"}
DEPENDENCIES = {
    "numpy",
    "scipy",
    "sklearn",
    "torch",
    "zuko",
    "joblib",
    "safetensors",
    "threadpoolctl",
    "matplotlib",
    "tqdm",
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path):
    """Names of all modules a file imports, at its top or within its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(name):
    """Modules of the package that a module imports."""
    return {found for found in imports_of(MODULES[name]) if found in MODULES} - {name, "skgbnf"}


def room_of(name):
    return name.split(".")[1]


def test_the_package_was_found():
    assert {"skgbnf", "skgbnf.density", "skgbnf.flows.spline"} <= MODULES.keys()
    assert "skgbnf.boosting" in imported_modules("skgbnf.density")


def test_the_readme_draws_the_rooms_that_exist():
    rooms = {room_of(name) for name in MODULES if name != "skgbnf"}
    assert sorted(rooms) == sorted(room for floor in drawn_floors() for room in floor)
    assert len(drawn_floors()) > 5


@pytest.mark.parametrize("name", [name for name in MODULES if name != "skgbnf"])
def test_imports_point_down(name):
    assert "skgbnf" not in imports_of(MODULES[name]), "the roof is imported from below"
    for other in imported_modules(name):
        same_room = room_of(other) == room_of(name)
        assert same_room or FLOOR_OF[room_of(other)] < FLOOR_OF[room_of(name)], other


def test_there_is_no_import_cycle():
    finished, open_path = set(), []

    def visit(name):
        assert name not in open_path, " -> ".join([*open_path, name])
        if name not in finished:
            open_path.append(name)
            for other in imported_modules(name):
                visit(other)
            finished.add(open_path.pop())

    for name in MODULES:
        visit(name)
    assert finished == MODULES.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("skgbnf.flows")])
def test_flows_know_torch_and_zuko_only(name):
    for found in imports_of(MODULES[name]):
        top = found.split(".")[0]
        allowed = top in FLOWS_MAY_IMPORT | set(sys.stdlib_module_names)
        assert allowed or found.startswith(("skgbnf.flows", "skgbnf._random")), found


@pytest.mark.parametrize("name", MODULES)
def test_only_declared_dependencies_are_imported(name):
    tops = {found.split(".")[0] for found in imports_of(MODULES[name])}
    assert tops <= DEPENDENCIES | {"skgbnf"} | set(sys.stdlib_module_names)
    declared = (ROOT / "pyproject.toml").read_text()
    for top in tops & DEPENDENCIES:
        assert f'"{top.replace("sklearn", "scikit-learn")}>=' in declared, top


@pytest.mark.parametrize("name", MODULES)
def test_nothing_private_of_other_packages_is_imported(name):
    for found in imports_of(MODULES[name]):
        private = any(part.startswith("_") and part != "__future__" for part in found.split("."))
        assert not private or found.startswith("skgbnf."), found
