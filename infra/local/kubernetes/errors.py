"""Every refusal leaves as a Kubernetes Status, because clients decide by its code, reason and causes."""

from __future__ import annotations

from typing import Any

from infra.local.kubernetes.resources import Resource

Obj = dict[str, Any]
Cause = tuple[str, str, str]  # reason, field, message

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    500: "InternalError",
}


class ApiError(Exception):
    """A refusal in the shape that the API answers with."""

    def __init__(self, code: int, message: str, reason: str = "", details: Obj | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "Unknown")
        self.details = details or {}

    def status(self) -> Obj:
        told = {"message": self.message, "reason": self.reason, "code": self.code, "details": self.details}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **told}


def not_found(resource: Resource, name: str) -> ApiError:
    return _about(404, resource, name, " not found")


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource")


def unknown_format(known: str) -> ApiError:
    words = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, words + known)


def already_exists(resource: Resource, name: str) -> ApiError:
    return _about(409, resource, name, " already exists", "AlreadyExists")


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    return _about(409, resource, name, f": {why}", "Conflict", "Operation cannot be fulfilled on ")


def failed_precondition(resource: Resource, name: str, field: str, wanted: object, found: object) -> ApiError:
    label = {"uid": "UID", "resourceVersion": "ResourceVersion"}.get(field, field)
    why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}"
    return conflict(resource, name, why)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    return _about(403, resource, name, f" is forbidden: {why}")


def invalid(resource: Resource, name: str, causes: list[Cause]) -> ApiError:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    lines = [f"{field}: {message}" for _, field, message in causes]
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    details = {
        "name": name,
        "group": resource.group,
        "kind": resource.kind,
        "causes": [{"reason": r, "message": m, "field": f} for r, f, m in causes],
    }
    return ApiError(422, f'{kind} "{name}" is invalid: {text}', "Invalid", details)


class Findings(list[Cause]):
    """Everything that is wrong with one object."""

    def add(self, reason: str, field: str, words: str) -> None:
        self.append((reason, field, words))

    def required(self, field: str, why: str = "") -> None:
        self.add("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")

    def forbidden(self, field: str, why: str) -> None:
        self.add("FieldValueForbidden", field, f"Forbidden: {why}")

    def bad(self, field: str, value: object, why: str) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        self.add("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")

    def unsupported(self, field: str, value: object, known: list[str]) -> None:
        words = ", ".join(f'"{word}"' for word in known)
        self.add("FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {words}')


def _about(
    code: int, resource: Resource, name: str, after: str, reason: str = "", before: str = ""
) -> ApiError:
    group = {"group": resource.group} if resource.group else {}
    words = f'{before}{resource.qualified} "{name}"{after}'
    return ApiError(code, words, reason, {"name": name, "kind": resource.plural, **group})
