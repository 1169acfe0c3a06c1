"""On which line of a job file each value is, for JSON and YAML in every style."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.api.documents import Document, read_json, read_yaml
from chalicelib.api.strict_json import MAX_PATH, join, parsed
from chalicelib.errors import FieldError
from tests.unit.api.test_documents import both_loaders, calm


@pytest.mark.parametrize(
    ("read", "text"),
    [
        pytest.param(read_json, '{{"a": 1,\n"b": {{"{key}": [{zeros}Infinity]}}}}', id="JSON"),
        pytest.param(read_yaml, 'a: 1\nb: {{? "{key}"\n: [{zeros}.inf]}}', id="YAML"),
    ],
)
def test_a_long_key_over_many_values_costs_no_more_than_they_do(read: Any, text: str) -> None:
    """Written out, the paths would be larger than any memory."""
    key = "k" * 500_000
    document = read(text.format(key=key, zeros="0, " * 100_000).encode())
    assert sum(map(len, document.lines)) < 100
    assert document.line_of(f"b.{key}[7]") == 2
    (fault,) = parsed(document.value).errors
    assert (fault.problem, len(fault.field)) == ("json_not_a_number", MAX_PATH)


def test_the_line_of_a_path_full_of_dots_is_soon_found() -> None:
    """Looked for step by step, it would take a day."""
    assert Document({}, {"": 1}).line_of("." * 5_000_000) == 1


@pytest.mark.parametrize(
    ("read", "text"),
    [
        pytest.param(read_json, '{"a": 1,\n"b": 1,\n"a": 2}', id="JSON"),
        pytest.param(read_yaml, "a: 1\nb: 1\na: 2\n", id="YAML"),
    ],
)
def test_a_key_that_comes_twice_is_remembered_with_the_line_of_its_repetition(read: Any, text: str) -> None:
    document = read(text.encode())
    assert parsed(document.value).errors == [FieldError("a", "json_repeated_key")]
    assert document.line_of("a") == 3


def test_lines_of_a_file_by_hand() -> None:
    text = """\
# two jobs
- jobName: one
  command:
    - python
    - >-
      long
      text
    - a
  resources: {cpu: 1,
    gpu: 2}
-
  jobName: two
"""
    lines = read_yaml(text.encode()).lines
    assert lines == {
        "": 2,
        "[0]": 2,
        "[0].jobName": 2,
        "[0].command": 3,
        "[0].command[0]": 4,
        "[0].command[1]": 5,
        "[0].command[2]": 8,
        "[0].resources": 9,
        "[0].resources.cpu": 9,
        "[0].resources.gpu": 10,
        "[1]": 12,
        "[1].jobName": 12,
    }


def test_what_is_missing_has_the_line_of_what_it_is_missing_in() -> None:
    document = read_yaml(b"- a: 1\n-\n  resources:\n    cpu: 1\n")
    assert [document.line_of(path) for path in ("[1].resources.gpu", "[1].x.y[3]", "[7].a", "x")] == [
        3,
        3,
        1,
        1,
    ]


# Keys that need no quotes in flow style and make no path ambiguous.
keys = st.text("abcxyz", min_size=1, max_size=4)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd\u2028\u2029"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def dumped(value: Any, indent: int, path: str = "", line: int = 1) -> tuple[str, dict[str, int], int]:
    """JSON, a value or key on each line, written beside its lines: the text, they, and the last line."""
    lines = {path: line}
    if not isinstance(value, list | dict) or not value:
        return json.dumps(value, ensure_ascii=False), lines, line
    parts = []
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        where, begin = join(path, key), line + 1
        text, inner, line = dumped(part, indent, where, begin)
        label = f"{json.dumps(key)}: " if isinstance(value, dict) else ""
        parts.append(f"\n{' ' * indent}{label}{text}")
        lines |= inner | {where: begin}
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}{','.join(parts)}\n{closed}", lines, line + 1


@calm
@given(value=values, indent=st.integers(0, 5))
def test_json_of_any_value_is_read_with_the_line_of_every_path(value: Any, indent: int) -> None:
    text, lines, _ = dumped(value, indent)
    document = read_json(text.encode())
    assert document.value == value
    assert document.lines == lines


@calm
@given(value=values, indent=st.none() | st.integers(0, 5))
def test_json_as_python_writes_it_has_the_same_paths(value: Any, indent: int | None) -> None:
    document = read_json(json.dumps(value, indent=indent).encode())
    assert document.value == value
    assert document.lines.keys() == dumped(value, 0)[1].keys()


@both_loaders
@calm
@given(value=values)
def test_json_is_yaml_with_the_same_values_and_lines(loader: Any, value: Any) -> None:
    text, lines, _ = dumped(value, 2)
    document = read_yaml(text.encode(), loader)
    assert document.value == value
    assert document.lines == lines


# PyYAML writes YAML 1.1, where this text is no number and needs no quotes.
NUMBERS_BY_1_2 = re.compile(r"'[-+.0-9eE]+'")


def composed(node: yaml.Node, path: str = "", line: int | None = None) -> dict[str, int]:
    """The lines by PyYAML's own tree."""
    lines = {path: node.start_mark.line + 1 if line is None else line}
    if isinstance(node, yaml.MappingNode):
        for key, part in node.value:
            lines |= composed(part, join(path, key.value), key.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, part in enumerate(node.value):
            lines |= composed(part, join(path, index))
    return lines


@both_loaders
@pytest.mark.parametrize("flow", [False, True, None], ids=["block style", "flow style", "mixed"])
@calm
@given(value=values, width=st.sampled_from([10, 80, 10_000]))
def test_yaml_of_any_value_is_read_with_the_line_of_every_path(
    loader: Any, flow: bool | None, value: Any, width: int
) -> None:
    assume(not NUMBERS_BY_1_2.search(repr(value)))
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, sort_keys=False, width=width)
    document = read_yaml(text.encode(), loader)
    assert document.value == value
    tree = yaml.compose(text, yaml.SafeLoader)
    assert tree is not None
    assert document.lines == composed(tree)
