"""Job files: each job in either dialect's create shape, checked as a request of that dialect is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chalicelib.api import documents, jobs_schemas, strict_json, training_v1_schemas
from chalicelib.api.documents import FILE, Document
from chalicelib.api.messages import language_of
from chalicelib.api.refusals import Dialect, detail
from chalicelib.api.strict_json import BODY, Parsed
from chalicelib.domain.uploads import MOST_JOBS
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.uploads import BadFile, Located, Wanted
from chalicelib.settings import Settings

BUNDLE = "bundle"  # the one field that files have and requests do not
BUNDLE_CHARS = 255


@dataclass(frozen=True, slots=True)
class JobFiles:
    """services.uploads.JobFiles for the pools and frameworks of these settings."""

    settings: Settings

    def read(self, content: bytes, name: str) -> Sequence[Wanted]:
        """Raises BadFile with all that is wrong, job by job."""
        document = _document(content, name)
        wanted: list[Wanted] = []
        errors: list[Located] = []
        for path, value in _jobs(document.value):
            try:
                wanted.append(self._job(document, path, value))
            except InvalidRequest as error:
                errors += [_located(document, path, wrong) for wrong in error.errors]
        if errors:
            raise BadFile(errors)
        return wanted

    def worded(self, error: Located, language: str) -> Mapping[str, Any]:
        line, wrong = error
        return {"line": line, **detail(wrong, language_of(language))}

    def _job(self, document: Document, path: str, value: Any) -> Wanted:
        parsed = strict_json.parsed(value)
        given = {name: part for name, part in parsed.fields.items() if name != BUNDLE}
        bundle = parsed.fields.get(BUNDLE)
        schemas = jobs_schemas if _is_of_jobs(given) else training_v1_schemas
        creation = schemas.creation(Parsed(given, [*parsed.errors, *_bundle_errors(bundle)]), self.settings)
        return Wanted(
            line=document.line_of(path) or 1,
            request=creation.request,
            client_token=creation.client_token,
            dry_run=creation.dry_run,
            bundle=bundle,
            locate=partial(_renamed, document, path, schemas.DIALECT),
        )


def _document(content: bytes, name: str) -> Document:
    try:
        document = documents.read_json(content) if name.endswith(".json") else documents.read_yaml(content)
    except InvalidRequest as error:
        raise BadFile([_located(None, "", wrong) for wrong in error.errors]) from error
    if isinstance(document.value, list) and not 1 <= len(document.value) <= MOST_JOBS:
        wrong = FieldError(FILE, "file_jobs", len(document.value), {"high": MOST_JOBS})
        raise BadFile([(1, wrong)])
    return document


def _jobs(value: Any) -> Iterator[tuple[str, Any]]:
    """Each job with its path in the file."""
    if not isinstance(value, list):
        yield "", value
        return
    for index, one in enumerate(value):
        yield f"[{index}]", one


def _is_of_jobs(given: Mapping[str, Any]) -> bool:
    """Whether it is written in the jobs dialect: by the name that it gives the job, and where it gives none
    by the fields that only one of the two has."""
    if ("jobName" in given) != ("name" in given):
        return "jobName" in given
    words = [{info.alias or name for name, info in model.model_fields.items()} for model in _MODELS]
    jobs, training_v1 = (len(given.keys() & known) for known in words)
    return jobs > training_v1


_MODELS = (jobs_schemas.CreateBody, training_v1_schemas.CreateBody)


def _bundle_errors(value: Any) -> Iterator[FieldError]:
    if value is not None and not (isinstance(value, str) and 1 <= len(value) <= BUNDLE_CHARS):
        yield FieldError(BUNDLE, "text", value, {"low": 1, "high": BUNDLE_CHARS})


def _located(document: Document | None, path: str, error: FieldError) -> Located:
    """The error with its path in the file and its line."""
    if error.field in (BODY, FILE):
        allowed = error.allowed if isinstance(error.allowed, Mapping) else {}
        line = document.line_of(path) if document else allowed.get("line")
        return line, replace(error, field=path or FILE)
    separator = "." if path and not error.field.startswith("[") else ""
    where = f"{path}{separator}{error.field}"
    return document.line_of(where) if document else None, replace(error, field=where)


def _renamed(document: Document, path: str, dialect: Dialect, error: FieldError) -> Located:
    return _located(document, path, replace(error, field=dialect.names.get(error.field, error.field)))
