"""How the fields of requests are read, and what is said of one that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from duikou.media.sync_mode import SyncMode
from duikou.server import leniency
from duikou.server.leniency import short_repr
from duikou.units import DAY_MS, MAX_VOLUME

MAX_MS = DAY_MS  # a time beyond one day is always a mistake; keeps figures in messages readable
MAX_EXTERNAL_ID = 256  # characters, the width of the database column


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    return value


def object_as_list(value: object) -> object:
    """A single object as a list of one; any other value as it is."""
    return [value] if isinstance(value, dict) else value


def none_for_empty(value: object) -> object:
    """`None` for an empty string; any other value as it is."""
    return None if value == "" else value


def default_for_null(default: object) -> BeforeValidator:
    """Reads null as `default`."""
    return BeforeValidator(lambda value: default if value is None else value)


Text = Annotated[str, AfterValidator(_encodable)]
Address = Annotated[Text, BeforeValidator(leniency.without_blanks)]
"""A URL, or an id that the server gave: blanks around it are dropped."""
FaceId = Annotated[
    Text, BeforeValidator(leniency.whole_as_text), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
ExternalId = Annotated[str, Field(max_length=MAX_EXTERNAL_ID), AfterValidator(_encodable)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_MS), BeforeValidator(leniency.whole(0, MAX_MS, rounds=True))]
Volume = Annotated[
    float, Field(ge=0, le=MAX_VOLUME), BeforeValidator(leniency.number(0, MAX_VOLUME)), default_for_null(1.0)
]
SyncModeField = Annotated[Annotated[SyncMode, Strict(False)] | None, BeforeValidator(none_for_empty)]
Pair = Annotated[
    list[Milliseconds], WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})
]
"""A start and an end in ms."""


_TEMPLATES = {
    "bool_type": "{field}: true or false is expected, not {value}.",
    "dict_type": "{field}: an object is expected, not {value}.",
    "enum": "{field}: {value} is not one of {expected}.",
    "finite_number": "{field}: a number is expected, not {value}.",
    "float_type": "{field}: a number is expected, not {value}.",
    "greater_than_equal": "{field}: {value} is less than the minimum, {ge:.0f}.",
    "int_from_float": "{field}: an integer is expected, not {value}.",
    "int_parsing": "{field}: an integer is expected, not {value}.",
    "int_type": "{field}: an integer is expected, not {value}.",
    "json_invalid": "The request body is not valid JSON.",
    "less_than_equal": "{field}: {value} is more than the maximum, {le:.0f}.",
    "list_type": "{field}: a list of objects is expected, not {value}.",
    "missing": "{field}: a value is required.",
    "model_attributes_type": "{field}: an object is expected, not {value}.",
    "model_type": "{field}: an object is expected, not {value}.",
    "string_too_long": "{field}: at most {max_length} characters are allowed.",
    "string_type": "{field}: a string is expected, not {value}.",
    "string_unicode": "{field}: the string must be valid Unicode.",
    "value_error": "{field}: the string {error}.",
}
"""Sentences by pydantic's type of error, with the values of its context."""


def error_sentence(errors: Sequence[Any]) -> str:
    """One sentence on the first of pydantic's errors: the field and the value found there."""
    error = errors[0]
    place = [part for part in error["loc"] if part not in ("body", "query", "path", "function-before")]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if error["type"] == "missing" and not field:
        return "The request body must be a JSON object."
    template = _TEMPLATES.get(error["type"], "{field}: {msg}.")
    if error["type"] == "list_type" and field.startswith("face_choose["):
        template = "{field}: a list is expected, not {value}."
    values = {"msg": error["msg"], **error.get("ctx", {})}
    return template.format_map(values | {"field": field or "body", "value": short_repr(error.get("input"))})
