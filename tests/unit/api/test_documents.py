"""Job files as text: what JSON and YAML mean here, on which line each value is, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib.api.documents import LOADER, MAX_DEPTH, MAX_VALUES, Document, read_json, read_yaml
from chalicelib.api.strict_json import BadNumber, Object, parsed
from chalicelib.errors import InvalidRequest

LOADERS = [pytest.param(LOADER, id="libyaml"), pytest.param(yaml.BaseLoader, id="PyYAML's own")]
both_loaders = pytest.mark.parametrize("loader", LOADERS)


def value_of(text: str, loader: Any = LOADER) -> Any:
    return read_yaml(text.encode(), loader).value


def refusal(read: Any, *given: Any) -> tuple[str, Any]:
    with pytest.raises(InvalidRequest) as refused:
        read(*given)
    (error,) = refused.value.errors
    return error.problem, error.allowed


SCALARS: list[tuple[str, Any]] = [
    ("no", "no"),
    ("on", "on"),
    ("y", "y"),
    ("Yes", "Yes"),
    ("2026-01-26", "2026-01-26"),
    ("10:30:00", "10:30:00"),
    ("1_000", "1_000"),
    ("0x10", "0x10"),
    ("0o17", "0o17"),
    ("=", "="),
    ("1.2.3", "1.2.3"),
    ("1e", "1e"),
    ("tRue", "tRue"),
    ("nan", "nan"),
    ("", None),
    ("~", None),
    ("null", None),
    ("NULL", None),
    ("true", True),
    ("FALSE", False),
    ("0", 0),
    ("-7", -7),
    ("+7", 7),
    ("08", 8),
    ("0.5", 0.5),
    (".5", 0.5),
    ("5.", 5.0),
    ("1e3", 1000.0),
    ("-1.5E-2", -0.015),
    ('"8"', "8"),
    ("'true'", "true"),
    ('""', ""),
    ("'~'", "~"),
    ("!!str 8", "8"),
    ("|\n  a\n  b\n", "a\nb\n"),
    (">-\n  a\n  b\n", "a b"),
    ('"\\u00e9\\n"', "é\n"),
    ("模型", "模型"),
    ("9223372036854775807", 2**63 - 1),
    ("9223372036854775808", BadNumber("9223372036854775808", "json_too_big")),
    ("9" * 5000, BadNumber("9" * 5000, "json_too_big")),
    ("1e999", BadNumber("1e999", "json_too_big")),
    (".inf", BadNumber(".inf", "json_not_a_number")),
    ("-.Inf", BadNumber("-.Inf", "json_not_a_number")),
    (".NaN", BadNumber(".NaN", "json_not_a_number")),
]


@both_loaders
@pytest.mark.parametrize(
    ("written", "meant"), SCALARS, ids=[ascii(written)[:20] or "nothing" for written, _ in SCALARS]
)
def test_a_scalar_means_what_the_core_schema_says(loader: Any, written: str, meant: Any) -> None:
    found = value_of(f"key: {written}", loader)["key"]
    assert found == meant
    assert type(found) is type(meant)


STRUCTURES: list[Any] = [
    pytest.param("a: {b: [1, x]}", {"a": {"b": [1, "x"]}}, id="flow style"),
    pytest.param("- a\n-\n  - b\n", ["a", ["b"]], id="block style"),
    pytest.param("just text", "just text", id="a scalar"),
    pytest.param("", [], id="nothing"),
    pytest.param("# nothing\n", [], id="a comment"),
    pytest.param("---\n", None, id="an empty document"),
    pytest.param("a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}], id="several documents"),
    pytest.param("--- 1\n...\n---\n- 2\n...\n", [1, [2]], id="documents with ends"),
    pytest.param("a: 1\n---\n", [{"a": 1}, None], id="a mark at the end begins an empty document"),
    pytest.param("\ufeffa: 1", {"a": 1}, id="a byte order mark"),
    pytest.param("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}, id="Windows' line ends"),
    pytest.param("%YAML 1.1\n---\na: no\n", {"a": "no"}, id="1.1 by its directive is read as 1.2"),
    pytest.param("1: a\ntrue: b\n~: c\n", {"1": "a", "true": "b", "~": "c"}, id="keys are text"),
    pytest.param("- &x {a: 1}\n- *x\n", [{"a": 1}, {"a": 1}], id="an alias of a mapping"),
    pytest.param("- &x no\n- *x\n", ["no", "no"], id="an alias of a scalar"),
    pytest.param("- &x 1\n- &x 2\n- *x\n", [1, 2, 2], id="the anchor that came last"),
    pytest.param("- &x {a: 1, b: 2}\n- {<<: *x, b: 3}\n", [{"a": 1, "b": 2}, {"a": 1, "b": 3}], id="<<"),
    pytest.param("- &x {b: 2}\n- {b: 3, <<: *x}\n", [{"b": 2}, {"b": 3}], id="own keys count before <<"),
    pytest.param(
        "- &x {a: 1}\n- &y {a: 2, b: 2}\n- <<: [*x, *y]\n",
        [{"a": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 2}],
        id="<< of several, of which the first counts",
    ),
    pytest.param(
        "- &x {a: 1}\n- &y {<<: *x, b: 2}\n- <<: *y\n",
        [{"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}],
        id="<< of what has << itself",
    ),
    pytest.param("<<: {a: 1}\nb: 2\n", {"a": 1, "b": 2}, id="<< of a mapping on the spot"),
]


@both_loaders
@pytest.mark.parametrize(("text", "meant"), STRUCTURES)
def test_yaml_is_read(loader: Any, text: str, meant: Any) -> None:
    assert value_of(text, loader) == meant


def test_a_merged_mapping_is_not_changed_by_who_merges_it() -> None:
    value = value_of("- &x {a: 1}\n- {<<: *x, b: 2}\n- *x\n")
    assert value[0] == value[2] == {"a": 1}


def laughs(levels: int) -> str:
    lines = ["- &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, levels):
        lines.append(f"- &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


REFUSED: list[Any] = [
    pytest.param("a: 1\nb: [\n", "yaml_syntax", 3, id="a list without an end"),
    pytest.param("a: 1\n\tb: 2\n", "yaml_syntax", 2, id="a tab before a key"),
    pytest.param("a: 1\nb: c: d\n", "yaml_syntax", 2, id="a colon too many"),
    pytest.param("a: 1\nb: 'x\n", "yaml_syntax", 3, id="a quote without an end"),
    pytest.param("é: é\né: é\na: \x01\n", "yaml_syntax", 3, id="a control character"),
    pytest.param("a: 1\nb: \x00\n", "yaml_syntax", 2, id="NUL"),
    pytest.param("a: 1\nb: *nobody\n", "yaml_syntax", 2, id="an alias of nothing"),
    pytest.param("- 1\n- &x [*x]\n", "yaml_syntax", 2, id="what contains itself"),
    pytest.param("&x a: 1\n--- *x\n", "yaml_syntax", 2, id="an anchor of another document"),
    pytest.param("- &k key\n- *k : 1\n", "yaml_key", 2, id="an alias as a key"),
    pytest.param("a: 1\n? [b]\n: 2\n", "yaml_key", 2, id="a list as a key"),
    pytest.param("a: 1\n? {b: 1}\n: 2\n", "yaml_key", 2, id="a mapping as a key"),
    pytest.param("a: 1\nb: !!int 3\n", "yaml_tag", 2, id="a tag of YAML's own"),
    pytest.param("a: 1\nb: !!python/object/apply:os.system [ls]\n", "yaml_tag", 2, id="a tag that runs"),
    pytest.param("a: 1\nb: !Sub x\n", "yaml_tag", 2, id="a tag of somebody's"),
    pytest.param("- 1\n- !!set {a}\n", "yaml_tag", 2, id="a set"),
    pytest.param("a: 1\n<<: 3\n", "yaml_merge", 2, id="<< of a number"),
    pytest.param("- 1\n- b: 1\n  <<: [{a: 1}, 3]\n", "yaml_merge", 3, id="<< of a list with a number"),
    pytest.param("\n" + "[" * (MAX_DEPTH + 1), "json_depth", 2, id="too deep"),
    pytest.param("\n" + "- " * (MAX_DEPTH + 1) + "x", "json_depth", 2, id="too deep in block style"),
    pytest.param(laughs(12), "too_many_values", None, id="a billion laughs"),
]


@both_loaders
@pytest.mark.parametrize(("text", "problem", "line"), REFUSED)
def test_what_is_no_yaml_or_asks_for_too_much_is_refused_with_its_line(
    loader: Any, text: str, problem: str, line: int | None
) -> None:
    found, allowed = refusal(read_yaml, text.encode(), loader)
    assert (found, allowed.get("line")) == (problem, line)


@both_loaders
def test_merges_are_counted_too(loader: Any) -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    bomb = f"- &x {{{keys}}}\n" + "- <<: *x\n" * (MAX_VALUES // 1000)
    assert refusal(read_yaml, bomb.encode(), loader)[0] == "too_many_values"


@pytest.mark.parametrize("read", [read_json, read_yaml], ids=["JSON", "YAML"])
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'[1,\n"\xff"]', id="a stray byte"),
        pytest.param(b'[1,\n"\xed\xa0\x80"]', id="a surrogate"),
        pytest.param(b'[1,\n"\xc3', id="half a character"),
    ],
)
def test_what_is_not_utf8_is_refused_with_its_line(read: Any, raw: bytes) -> None:
    assert refusal(read, raw) == ("json_encoding", {"line": 2, "offset": 5})


@pytest.mark.parametrize("read", [read_json, read_yaml], ids=["JSON", "YAML"])
def test_utf16_as_windows_writes_it_is_refused(read: Any) -> None:
    assert refusal(read, '{"a": 1}'.encode("utf-16"))[0] == "json_encoding"


@pytest.mark.parametrize(
    ("text", "problem", "allowed"),
    [
        pytest.param("", "json_syntax", {"line": 1, "column": 1}, id="nothing"),
        pytest.param('{"a":\n 1,}', "json_syntax", {"line": 2, "column": 4}, id="a comma too many"),
        pytest.param("[1]\n[2]", "json_syntax", {"line": 2, "column": 1}, id="two values"),
        pytest.param('["a\nb"]', "json_syntax", {"line": 1, "column": 4}, id="a line end in a string"),
        pytest.param("[" * 100_000, "json_depth", {"high": 32}, id="very deep"),
    ],
)
def test_what_is_no_json_is_refused(text: str, problem: str, allowed: Any) -> None:
    assert refusal(read_json, text.encode()) == (problem, allowed)


def test_json_may_begin_with_a_byte_order_mark() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == Document({"a": 1}, {"": 1, "a": 1})


@pytest.mark.parametrize(
    ("read", "one"),
    [
        pytest.param(read_json, "0,", id="numbers in JSON"),
        pytest.param(read_json, "[],", id="lists in JSON"),
        pytest.param(read_json, "{},", id="objects in JSON"),
        pytest.param(read_yaml, "0,", id="numbers in YAML"),
    ],
)
def test_more_values_than_fit_into_memory_are_refused(read: Any, one: str) -> None:
    text = f"[{one * (MAX_VALUES - 1)}0]"
    assert refusal(read, text.encode()) == ("too_many_values", {"high": MAX_VALUES})


def test_keys_are_no_values_and_depth_does_not_count() -> None:
    text = '{"key":[[[1,2,3,4]]],"other":' + f"[{'[0],' * (MAX_VALUES // 2 - 10)}0]}}"
    assert len(read_json(text.encode()).value["other"]) == MAX_VALUES // 2 - 9


def test_separators_within_text_are_no_values() -> None:
    text = ",[{" * MAX_VALUES
    assert read_json(json.dumps({"description": text}).encode()).value == {"description": text}


calm = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


yamlish = st.text(
    st.sampled_from(list("ab1:-?,[]{}&*!|>'\"%#~.<\\ \t\n\r\x85\u2028é\ufeff\U0001f600")), max_size=40
)


@both_loaders
@calm
@example(raw=b'"\\U00110000"')
@example(raw=b'"\\ud800"')
@example(raw=b"a: !%FF%FE x")
@example(raw=b"--- !<%ff> x")
@example(raw=b"%YAML 99999999999999999999.1\n--- a")
@example(raw=b"&a : *a")
@given(raw=st.binary(max_size=60) | yamlish.map(str.encode))
def test_whatever_the_bytes_are_they_are_read_or_refused(loader: Any, raw: bytes) -> None:
    for read in (read_json, lambda raw: read_yaml(raw, loader)):
        try:
            document = read(raw)
            assert document.line_of("") is not None
            if isinstance(document.value, Object):
                parsed(document.value)
        except InvalidRequest as refused:
            assert refused.errors
