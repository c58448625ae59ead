"""The script `run`, without installing anything: it works on a stand-in environment."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "run"


def load(monkeypatch: pytest.MonkeyPatch, venv: Path) -> ModuleType:
    """The script as a module whose environment is `venv`."""
    monkeypatch.setenv("XNECT_VENV", str(venv))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("run_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader("run_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Ready to run: a python that prints its arguments, and the right stamp."""
    module = load(monkeypatch, tmp_path / "venv")
    module.PYTHON.parent.mkdir(parents=True)
    module.PYTHON.write_text('#!/bin/sh\necho "$PWD $@"\n')
    module.PYTHON.chmod(0o755)
    module.STAMP.write_text(module.stamp())
    return module


def run(script: ModuleType, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XNECT_VENV": str(script.VENV)}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


needs_sh = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")


@needs_sh
def test_test_runs_pytest_in_the_repository(script: ModuleType, tmp_path: Path) -> None:
    done = run(script, "test", "-x", cwd=tmp_path)
    assert done.stdout == f"{ROOT} -m pytest -x\n"
    assert f"install --no-deps {script.REFERENCE}" in done.stderr
    assert "install" not in run(script, "test", "-x", cwd=tmp_path).stderr  # once


@needs_sh
def test_everything_else_is_a_command_in_the_folder_of_the_caller(
    script: ModuleType, tmp_path: Path
) -> None:
    assert run(script, "demo", cwd=tmp_path).stdout == f"{tmp_path} -m xnect.demo demo\n"
    assert run(script, cwd=tmp_path).stdout == f"{tmp_path} -m xnect.demo --help\n"
    said = run(script, "video", "a b.mp4", "-o", "out", cwd=tmp_path)
    assert said.stdout == f"{tmp_path} -m xnect.demo video a b.mp4 -o out\n"
    assert said.stderr == ""  # nothing was set up again


@needs_sh
def test_the_status_of_the_program_is_that_of_the_script(
    script: ModuleType, tmp_path: Path
) -> None:
    script.PYTHON.write_text("#!/bin/sh\nexit 130\n")
    assert run(script, "live", cwd=tmp_path).returncode == 130


def test_the_stamp_changes_with_the_constraints(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = script.stamp()
    other = tmp_path / "other.txt"
    other.write_text("torch==2.6.0\n")
    monkeypatch.setenv("XNECT_CONSTRAINTS", str(other))
    assert script.stamp() != before


def test_a_changed_stamp_installs_with_the_constraints(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.STAMP.write_text("old")
    calls: list[list[str]] = []
    monkeypatch.setattr(script, "call", lambda *words: calls.append([str(w) for w in words]))
    monkeypatch.setattr(script, "make_venv", lambda: ["pip"])
    script.set_up()
    assert calls == [["pip", "install", "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[test]"]]
    assert script.STAMP.read_text() == script.stamp()
    script.set_up()
    assert len(calls) == 1


def test_without_ensurepip_the_pip_outside_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load(monkeypatch, tmp_path / "venv")
    calls: list[list[str]] = []
    monkeypatch.setattr(script, "call", lambda *words: calls.append([str(w) for w in words]))
    monkeypatch.setattr(script, "can", lambda *code: "ensurepip" not in code[-1])
    pip = script.make_venv()
    assert calls == [[sys.executable, "-m", "venv", "--without-pip", str(script.VENV)]]
    assert pip[0] == sys.executable
    assert pip[-2:] == ["--python", str(script.PYTHON)]


def test_without_venv_and_pip_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load(monkeypatch, tmp_path / "venv")
    monkeypatch.setattr(script, "can", lambda *code: False)
    with pytest.raises(SystemExit, match="apt-get install python3-venv"):
        script.make_venv()


def test_a_missing_constraints_file_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XNECT_CONSTRAINTS", str(tmp_path / "gone.txt"))
    with pytest.raises(SystemExit, match=r"gone\.txt"):
        script.set_up()


def test_the_script_imports_the_standard_library_only() -> None:
    import ast

    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert names <= sys.stdlib_module_names


def test_the_check_of_a_change_runs_the_tests() -> None:
    assert "./run test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    if os.name != "nt":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        assert os.access(SCRIPT, os.X_OK)
