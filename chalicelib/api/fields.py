"""The fields of both dialects' requests: their bounds, and pydantic's findings in the catalogue's words.

Every leaf is a plain validator, so that nothing is coerced ("8" is not 8, true is not 1, 8.0 is not 8) and
each mistake, whether of type or of range, says everything that is allowed.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from chalicelib.api.strict_json import Parsed, is_unicode, join
from chalicelib.domain.labels import RESERVED_PREFIXES
from chalicelib.domain.manifest import RESERVED_ENV, RESERVED_ENV_PREFIX
from chalicelib.errors import FieldError, InvalidRequest

MIB = 1024**2
KIB = 1024
DAY_SECONDS = 24 * 3600
MAX_GUESSES = 20  # of what a misspelt field was to be: each costs time
MAX_TEXT_BYTES = 16 * KIB  # of a command, and of an environment

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LABEL_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_JOB_CONTROLLER_LABELS = frozenset({"job-name", "controller-uid"})  # it sets them, without a prefix, itself
_IMAGE = re.compile(
    r"([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?"
)

# What pydantic itself finds, in the catalogue's words.
_STRUCTURE = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "model_type": "object",
    "dict_type": "object",
    "list_type": "list",
    "too_long": "too_many",
    "too_short": "empty",
}


class Fields(BaseModel):
    """A request's fields: unknown ones are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Fields)


def validate(model: type[Model], parsed: Parsed, others: Iterable[FieldError] = ()) -> Model:
    """The model of what was parsed. Raises InvalidRequest with all that is wrong, each field once."""
    errors = list(parsed.errors)
    value = None
    try:
        value = model.model_validate(dict(parsed.fields))
    except ValidationError as error:
        details = error.errors(include_url=False)
        errors += [_field_error(detail, model, guess=i < MAX_GUESSES) for i, detail in enumerate(details)]
    errors += others
    if errors or value is None:
        raise InvalidRequest(list({error.field: error for error in reversed(errors)}.values())[::-1])
    return value


def wrong(problem: str, **allowed: Any) -> PydanticCustomError:
    """What a validator raises: a problem of the catalogue and what fills its text in."""
    return PydanticCustomError("problem", "{problem}", {"problem": problem, "allowed": allowed})


def whole(low: int, high: int) -> PlainValidator:
    """An integer from `low` to `high`, both included."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise wrong("integer", low=low, high=high)
        return value

    return PlainValidator(check)


def whole_text(low: int, high: int) -> PlainValidator:
    """An integer as a query parameter spells it: decimal digits and nothing else."""

    def check(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,20}", value, re.ASCII) or not low <= int(value) <= high:
            raise wrong("integer", low=low, high=high)
        return int(value)

    return PlainValidator(check)


def text(low: int, high: int, *, breaks: bool = False) -> Callable[[Any], str]:
    """A string of `low` to `high` characters without control characters, but for line breaks and tabs."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not low <= len(value) <= high:
            raise wrong("text", low=low, high=high)
        if any(_is_control(char) and not (breaks and char in "\n\r\t") for char in value):
            raise wrong("control_character")
        return value

    return check


def one_of(words: Mapping[str, Any]) -> PlainValidator:
    """One of the dialect's words, turned into ours."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise wrong("one_of", words=", ".join(words))
        return words[value]

    return PlainValidator(check)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong("flag")
    return value


def _name(value: Any) -> str:
    name = text(1, 128)(value)
    if name != name.strip():
        raise wrong("outer_space")
    return name


def _script_path(value: Any) -> str:
    path = text(2, 1024)(value)
    if not path.startswith("/") or any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise wrong("script_path")
    return path


def _image(value: Any) -> str:
    image = text(1, 512)(value)
    if not _IMAGE.fullmatch(image):
        raise wrong("image")
    return image


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_BYTES or "\0" in value or not is_unicode(value):
        raise wrong("word", bytes=MAX_TEXT_BYTES)
    return value


def _command(words: list[str]) -> list[str]:
    if not words[0].strip():
        raise wrong("program")
    if sum(len(word.encode()) for word in words) > MAX_TEXT_BYTES:
        raise wrong("too_large", bytes=MAX_TEXT_BYTES)
    return words


def _env_name(value: Any) -> str:
    if not isinstance(value, str) or not _ENV_NAME.fullmatch(value):
        raise wrong("env_name")
    if value in RESERVED_ENV or value.startswith(RESERVED_ENV_PREFIX):
        raise wrong("env_reserved", words=", ".join([f"{RESERVED_ENV_PREFIX}*", *sorted(RESERVED_ENV)]))
    return value


def _env(env: dict[str, str]) -> dict[str, str]:
    if sum(len(name) + len(value.encode()) for name, value in env.items()) > MAX_TEXT_BYTES:
        raise wrong("too_large", bytes=MAX_TEXT_BYTES)
    return env


def _label_key(value: Any) -> str:
    prefix, slash, name = value.rpartition("/") if isinstance(value, str) else ("", "", "")
    if not _LABEL_WORD.fullmatch(name) or (slash and not is_dns_name(prefix)):
        raise wrong("label_key")
    domains = [reserved.rstrip("/") for reserved in RESERVED_PREFIXES]
    if value in _JOB_CONTROLLER_LABELS or any(f".{prefix}".endswith(f".{domain}") for domain in domains):
        raise wrong("label_reserved", words=", ".join([*domains, *sorted(_JOB_CONTROLLER_LABELS)]))
    return str(value)


def _label_value(value: Any) -> str:
    if not isinstance(value, str) or (value and not _LABEL_WORD.fullmatch(value)):
        raise wrong("label_value")
    return value


def check_token(value: Any) -> str:
    """An idempotency key: 1–128 visible ASCII characters."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,128}", value):
        raise wrong("token")
    return value


def is_dns_name(value: str) -> bool:
    """Whether it could name a Kubernetes object."""
    return len(value) <= 253 and _DNS_NAME.fullmatch(value) is not None


Id = Annotated[int, whole(1, 2**53 - 1)]
Cpu = Annotated[int, whole(1, 1024)]
Memory = Annotated[int, whole(16 * MIB, 16 * MIB * MIB)]
Gpu = Annotated[int, whole(0, 64)]
Priority = Annotated[int, whole(0, 10)]
Nodes = Annotated[int, whole(1, 64)]
Retries = Annotated[int, whole(0, 10)]
Runtime = Annotated[int, whole(1, 30 * DAY_SECONDS)]
Flag = Annotated[bool, PlainValidator(_flag)]
Name = Annotated[str, PlainValidator(_name)]
Description = Annotated[str, PlainValidator(text(0, 2048, breaks=True))]
ShortName = Annotated[str, PlainValidator(text(1, 128))]  # of a framework, pool or queue: looked up later
ScriptPath = Annotated[str, PlainValidator(_script_path)]
Image = Annotated[str, PlainValidator(_image)]
Word = Annotated[str, PlainValidator(_word)]
Command = Annotated[list[Word], Field(min_length=1, max_length=64), AfterValidator(_command)]
Env = Annotated[
    dict[Annotated[str, PlainValidator(_env_name)], Word], Field(max_length=100), AfterValidator(_env)
]
Labels = Annotated[
    dict[Annotated[str, PlainValidator(_label_key)], Annotated[str, PlainValidator(_label_value)]],
    Field(max_length=32),
]
Token = Annotated[str, PlainValidator(check_token)]


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI


def _field_error(detail: ErrorDetails, model: type[Fields], *, guess: bool) -> FieldError:
    location, context = detail["loc"], detail.get("ctx", {})
    # A wrong key of an object is located behind the key itself.
    location = location[:-1] if len(location) > 2 and location[-1] == "[key]" else location
    path = ""
    for part in location:
        path = join(path, part)
    if detail["type"] == "problem":
        return FieldError(path, context["problem"], detail["input"], context["allowed"])
    problem = _STRUCTURE[detail["type"]]
    if problem == "missing":
        return FieldError(path, problem)
    if problem == "unknown_field":
        near = _near(str(location[-1]), model) if guess else None
        problem = "misspelt_field" if near else "unknown_field"
        return FieldError(path, problem, detail["input"], {"near": near})
    return FieldError(path, problem, detail["input"], {"high": context.get("max_length")})


def _near(name: str, model: type[Fields]) -> str | None:
    known = [info.alias or field for field, info in model.model_fields.items()]
    near = difflib.get_close_matches(name, known, 1) if len(name) <= 64 else []
    return near[0] if near else None
