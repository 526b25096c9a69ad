"""Settings that are read from text."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from duikou.settings import Settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ()),
        ("9.9.9.9", ("9.9.9.9",)),
        (" 9.9.9.9 , 127.0.0.1:5353 ,", ("9.9.9.9", "127.0.0.1:5353")),
        ("2620:fe::fe,[::1]:53", ("2620:fe::fe", "[::1]:53")),
    ],
)
def test_name_servers(text: str, value: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_NAMESERVERS", text)
    assert Settings().nameservers == value


@pytest.mark.parametrize("text", ["dns.example.org", "9.9.9.9:x", "1.2.3", "[::1", "9.9.9.9;1.1.1.1"])
def test_what_is_no_name_server(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_NAMESERVERS", text)
    with pytest.raises(ValidationError, match="nameservers"):
        Settings()
