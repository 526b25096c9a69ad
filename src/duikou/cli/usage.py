"""Errors of the parser as one sentence that names the option or the argument."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, Final

_CHOICE: Final = re.compile(r"'(.*)' is not one of (.*)\.")
_REASONS: Final = (
    (re.compile(r".*valid integer.*"), "a whole number is needed"),
    (re.compile(r".*valid boolean.*"), "must be true or false"),
    (re.compile(r".*valid number.*"), "a number is needed"),
    (re.compile(r"Input should be (.*)"), r"must be \1"),
)
"""What the parser says, and what to say in its place."""


def sentence(error: Any) -> str:
    """The error of typer's parser in our words. Its classes are private, so its attributes are asked."""
    help_line = f"`{error.ctx.command_path} --help` shows how to call it" if error.ctx else ""
    parameter, option = getattr(error, "param", None), getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        known = [name for one in error.ctx.command.params for name in one.opts]
        return _joined(f"there is no option {option}", _nearest(option, known), help_line)
    if parameter is not None:
        name = parameter.opts[-1] if parameter.opts[-1].startswith("-") else parameter.metavar or parameter.name.upper()
        if hasattr(error, "param_type"):
            return _joined(f"{name} is missing", help_line)
        return f"{name}: {reason(error.message)}"
    if option:
        return f"{option}: a value is needed"
    commands = getattr(error.ctx.command, "commands", {}) if error.ctx else {}
    if commands:
        every, found = ", ".join(commands), re.search(r"'(.*?)'", error.message)
        if found is None:
            return f"a command is needed: {every}"
        return _joined(f"there is no command {found[1]}", _nearest(found[1], commands) or f"the commands are {every}")
    if found := re.fullmatch(r"Got unexpected extra argument\(?s?\)? \((.*)\)", error.message):
        return _joined(f"{found[1]} is one argument too many", help_line)
    return _joined(str(error.message).rstrip("."), help_line)


def reason(message: str) -> str:
    """What a parser or pydantic says of a value, in our words."""
    message = message.removeprefix("Value error, ")
    if found := _CHOICE.fullmatch(message):
        known = found[2].replace("'", "").split(", ")
        return _joined(f"{found[1]!r} is not one of {', '.join(known)}", _nearest(found[1], known))
    for pattern, words in _REASONS:
        if pattern.fullmatch(message):
            return pattern.sub(words, message)
    return message


def _nearest(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else ""


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def is_help(error: Any) -> bool:
    """Whether the error is that a group was called without a command, whose text is its help."""
    return error.ctx is not None and error.message == error.ctx.get_help()
