"""Each parity case names the place in the Kubernetes reference that it holds both clusters to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PARITY = Path(__file__).parents[2] / "functional" / "kubernetes" / "parity"
CASES = [
    node
    for file in sorted(PARITY.glob("test_*.py"))
    for node in ast.parse(file.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_parity_case_names_its_place_in_the_reference(case: ast.FunctionDef) -> None:
    assert "https://kubernetes.io/docs/" in (ast.get_docstring(case) or "")
