"""Strict reading of JSON bodies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from duikou.server.http.json_body import loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_was_written_is_read(value: object) -> None:
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"a": 1, "a": 1}', "The request body names 'a' twice in one object."),
        (b'{"x": [{"b": 1, "c": 2, "\\u0062": 3}]}', "The request body names 'b' twice in one object."),
        (b'{"' + b"k" * 99 + b'": 1, "' + b"k" * 99 + b'": 2}', f"names '{'k' * 39}... twice"),
        (b'{"\\ud800": 1, "\\ud800": 2}', r"names '\ud800' twice"),
    ],
)
def test_a_name_stands_once(body: bytes, sentence: str) -> None:
    with pytest.raises(HTTPException) as error:
        loads(body)
    assert error.value.status_code == 422
    assert sentence in error.value.detail
    error.value.detail.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf",
        b'{"a": 1}\xef\xbb\xbf',
        b"9" * 5_000,
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'"\x00"',
        b"{} {}",
    ],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError):
        loads(body)


@pytest.mark.parametrize("body", [b"\xff", *('{"a": 1}'.encode(code) for code in ("utf-16", "utf-32", "utf-16-le"))])
def test_what_is_not_in_utf_8(body: bytes) -> None:
    with pytest.raises((HTTPException, ValueError)):
        loads(body)


def test_a_byte_order_mark_is_ignored() -> None:
    assert loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_nested_too_deeply(body: bytes) -> None:
    with pytest.raises(RecursionError):
        loads(body)
