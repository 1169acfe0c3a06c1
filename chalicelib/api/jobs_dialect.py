"""The envelope of the jobs dialect, in which the API answers and so does the terminal relay."""

from __future__ import annotations

from typing import Any

from chalicelib.api.refusals import Dialect, Failure

NAMES = {
    "name": "jobName",
    "pool": "resourcePoolId",
    "script_path": "scriptPath",
    "client_token": "clientToken",
}


def success(**parts: Any) -> dict[str, Any]:
    """The envelope with what the contract shows of `data` and `message`."""
    return {"success": True, **parts}


def failure(wrong: Failure) -> dict[str, Any]:
    error: dict[str, Any] = {"code": wrong.code, "details": wrong.details}
    return {"success": False, "message": wrong.message, "error": error}


DIALECT = Dialect(failure=failure, status_word=lambda status: status.value.capitalize(), names=NAMES)
