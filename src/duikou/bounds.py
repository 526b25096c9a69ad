"""Bounds of values that another process sends: what pydantic accepts for an annotated type.

pydantic is imported by whoever reads; the types themselves need nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.int_schema(ge=self.least, le=self.most, strict=True)


class Share:
    """A number from 0 to 1, so neither NaN nor an infinity."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.float_schema(ge=0, le=1, allow_inf_nan=False, strict=True)


@dataclass(frozen=True)
class Text:
    """A text of at most `most` characters that matches `pattern` as a whole."""

    most: int
    pattern: str = ""

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        pattern = rf"\A(?:{self.pattern})\z" if self.pattern else None
        return core_schema.str_schema(max_length=self.most, pattern=pattern, strict=True)


@dataclass(frozen=True)
class AtMost:
    """A tuple of at most `most` items. The first one that is wrong or too many ends the reading."""

    most: int

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        return {**schema, "max_length": self.most, "fail_fast": True}
