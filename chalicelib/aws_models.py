"""What botocore knows of AWS' services, but for the insides of DynamoDB's items: those it passes as they are.

It would walk through each attribute of each item, on the way out and in, to make of it what it was: half of
its own time for a Query. A shape that its model calls a document it does not look into
(https://smithy.io/2.0/spec/simple-types.html#document).
"""

from __future__ import annotations

from typing import Any

from botocore.loaders import Loader

_DOCUMENT = {"type": "structure", "members": {}, "document": True}
# Of the streams a whole record: what Lambda hands to a function is the wire's, too.
_DOCUMENTS = {
    "dynamodb": (
        "AttributeMap",
        "AttributeValue",
        "ExpressionAttributeValueMap",
        "Key",
        "PutItemInputAttributeMap",
    ),
    "dynamodbstreams": ("Record",),
}


class PlainItems(Loader):  # type: ignore[misc]  # botocore has no types
    """botocore's loader of models, to be a session's. Items are those of the wire in both directions: a
    binary value is its base64."""

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if type_name != "service-2" or service_name not in _DOCUMENTS:
            return model
        return {**model, "shapes": model["shapes"] | dict.fromkeys(_DOCUMENTS[service_name], _DOCUMENT)}
