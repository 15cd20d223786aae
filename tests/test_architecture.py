"""The module map of docs/development.md: what it draws exists, and imports point down in it."""

import ast
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "skgbnf"


def section(title):
    """A section of the page that describes the modules."""
    text = (ROOT / "docs" / "development.md").read_text()
    return re.search(rf"^## {title}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)[1]


def drawn_levels():
    """Levels of the module map, from the lowest up, each a list of packages and modules."""
    drawing = re.search(r"^```text\n(.*?)^```", section("Module map"), re.MULTILINE | re.DOTALL)[1]
    levels = re.split(r"^ *\|$", drawing, flags=re.MULTILINE)
    return [re.findall(r"^ +(\w+)(?:\.py|/) ", level, re.MULTILINE) for level in levels[::-1]]


def described_modules():
    """Names of the modules that have a line in the tables, in their order."""
    package, names = "", []
    for line in section("Modules").splitlines():
        if heading := re.match(r"### (?:`(\w+)/`)?", line):
            package = f"{heading[1]}." if heading[1] else ""
        elif row := re.match(r"\| `(\w+)\.py` \| [^ |]", line):
            names.append(f"skgbnf.{package}{row[1]}")
    return names


LEVEL_OF = {name: number for number, names in enumerate(drawn_levels()) for name in names}

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
    "torchdiffeq",
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


def part_of(name):
    """The package or single module of the map that a module belongs to."""
    return name.split(".")[1]


def test_the_package_was_found():
    assert {"skgbnf", "skgbnf.estimators.density", "skgbnf.flows.spline"} <= MODULES.keys()
    assert "skgbnf.flows" in imported_modules("skgbnf.estimators.density")


def test_the_map_draws_the_packages_and_modules_that_exist():
    parts = {part_of(name) for name in MODULES if name != "skgbnf"}
    assert sorted(parts) == sorted(name for level in drawn_levels() for name in level)
    assert len(drawn_levels()) > 5


def test_every_module_has_one_line():
    files = [name for name, path in MODULES.items() if path.name != "__init__.py"]
    assert sorted(described_modules()) == sorted(files)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "skgbnf"])
def test_imports_point_down(name):
    assert "skgbnf" not in imports_of(MODULES[name]), "the top is imported from below"
    for other in imported_modules(name):
        same_part = part_of(other) == part_of(name)
        assert same_part or LEVEL_OF[part_of(other)] < LEVEL_OF[part_of(name)], other


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
