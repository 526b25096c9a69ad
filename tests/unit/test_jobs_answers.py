"""Texts that a child tells: any of them can be kept."""

from __future__ import annotations

import pytest

from duikou.sandbox.answers import readable


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("the video is damaged at frame 7", None),
        ("人脸", None),
        ("a\0b", "a?b"),
        ("half \ud800 a character", "half ? a character"),
    ],
    ids=["plain", "chinese", "nul", "surrogate"],
)
def test_what_no_database_takes_is_replaced(told: str, kept: str | None) -> None:
    assert readable(told) == (told if kept is None else kept)
