"""Reads DynamoDB's answers: as botocore does, but hands items on as they came.

botocore asks of each attribute of each item what it is, of ten things that it could be, and copies it. What
comes out is what came in, but for binary values; for an answer of many items it is most of the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.parsers import JSONParser, ResponseParserFactory

_AS_THEY_COME = frozenset(("S", "N", "BOOL", "NULL"))


class AnswerParsers(ResponseParserFactory):  # type: ignore[misc]
    """A session's `response_parser_factory`."""

    def create_parser(self, protocol_name: str) -> Any:
        if protocol_name == "json":
            return _Parser(**self._defaults)
        return super().create_parser(protocol_name)


class _Parser(JSONParser):  # type: ignore[misc]
    def _handle_map(self, shape: Any, value: Mapping[str, Any]) -> Any:
        if shape.value.name == "AttributeValue" and all(map(_AS_THEY_COME.issuperset, value.values())):
            return value
        return super()._handle_map(shape, value)
