"""Limits that keep the code readable, checked on every file."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ao_pipeline"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "versions" not in path.parts)

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60

LONGER_MODULES = {
    "bundles/verifier.py": "stands alone on purpose: it re-implements the format from its document and imports nothing of ours",
}

BANNED_NAMES = {"utils", "helpers", "common", "base", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_one_subject(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    lines = path.read_text(encoding="utf-8").count("\n")

    assert path.stem not in BANNED_NAMES, f"{name}: name the subject"
    assert lines <= MAX_MODULE_LINES or name in LONGER_MODULES, f"{name} has {lines} lines; split it by subject"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_fits_a_screen(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = [
        f"{node.name} ({(node.end_lineno or 0) - node.lineno} lines)"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > MAX_FUNCTION_LINES
    ]

    assert not long, f"{path.relative_to(PACKAGE)}: {', '.join(long)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_holds(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path.relative_to(PACKAGE)} has no docstring"
