"""Imports point down, and what is packaged is what is there."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"backbones", "heads", "calib"}
AROUND = {"export", "synth", "train", "eval"}
"""Parts of `xnect/` that use the core, and that the core never imports."""

MAY_IMPORT = {
    "backbones": {"backbones"},
    "heads": {"heads"},
    "calib": {"calib"},
    "xnect": LEAVES | {"xnect"},
    "demo": LEAVES | {"xnect", "demo"},
}
FILES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def names(path: Path, *, top_level: bool = False) -> set[str]:
    """Absolute names of the modules that a file imports; relative imports are made absolute."""
    tree = parsed(path)
    nodes = tree.body if top_level else list(ast.walk(tree))
    package = module(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def module(path: Path) -> str:
    """The name under which a file is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "xnect" else ["xnect", *parts])


def identifier(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=identifier)
def test_a_file_imports_only_what_lies_below_it(path: Path) -> None:
    folder, *inside = path.relative_to(ROOT).with_suffix("").parts
    for name in names(path):
        first, *rest = name.split(".")
        assert first not in MAY_IMPORT or first == "xnect", (
            f"write xnect.{name}: {first} is not installed under that name"
        )
        if first != "xnect" or name == "xnect":
            continue
        target = rest[0] if rest[0] in MAY_IMPORT else "xnect"
        assert target in MAY_IMPORT[folder], f"{folder}/ may not import {name}"
        if folder == "xnect" and inside[0] not in AROUND:
            assert rest[0] not in AROUND, f"the core may not import {name}"


@pytest.mark.parametrize("folder", sorted(LEAVES))
def test_a_leaf_imports_its_own_files_relatively(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not str(node.module).startswith("xnect"), identifier(path)
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("xnect") for alias in node.names)


def test_no_two_modules_import_each_other_when_they_are_loaded() -> None:
    modules = {module(path): path for path in FILES}
    graph = {
        name: {found for found in names(path, top_level=True) if found in modules and found != name}
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(graph)  # raises on a cycle


def test_every_folder_with_python_files_is_packaged_and_nothing_else() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {module(path) if path.name == "__init__.py" else "" for path in FILES} - {""}
    assert sorted(config["tool"]["setuptools"]["packages"]) == sorted(folders)
    for path in FILES:
        assert (path.parent / "__init__.py").exists(), f"{identifier(path)} lies in no package"


def test_open3d_is_imported_by_the_3d_viewer_only() -> None:
    users = {identifier(p) for p in FILES if any(n.split(".")[0] == "open3d" for n in names(p))}
    assert users == {"demo/sinks/scene3d.py"}


def test_only_programs_print() -> None:
    frame = "xnect/train/processes.py"  # `as_command`, of the programs in that folder
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "demo" or identifier(path) == frame:
            continue
        for node in ast.walk(parsed(path)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id == "print":
                # a module that is started with `python -m` is a program
                assert "__main__" in path.read_text(encoding="utf-8"), identifier(path)
