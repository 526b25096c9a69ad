"""What callers send as an address is accepted or refused in a sentence, whatever its host looks like."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from duikou.errors import FetchError
from duikou.net.addresses import AddressPolicy
from duikou.net.urls import MAX_URL_CHARACTERS, check_url

PIECES = (
    *("xn--", "XN--", "xn--localhost-", "xn--a", "xn--xn--", "xn--fiq228c", "localhost", "com", "invalid", "example"),
    *(".", "..", "-", "_", "*", ":", ":0", ":80", ":99999", ":-1", ":８０", ":x", "@", "me:word@", "/", "\\", "?", "#"),
    *(
        "[",
        "]",
        "[]",
        "[::1]",
        "[::1",
        "::1]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "[::ffff:127.0.0.1]",
        "%",
    ),
    *(
        "%2e",
        "%00",
        "%zz",
        "%ff",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f",
        "0177",
        "１２７",
        "١",
        "8.8.8.8",
        "。",
        "．",
    ),
    *(" ", "\t", "\r", "\n", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u200c", "\u200d", "\xad", "\ufeff"),
    *("ß", "ı", "İ", "é", "e\u0301", "\u0300", "ﷺ", "ⓛ", "א", "对口", "\U0001f71c", "\ud800", "\udfff"),
    *("a" * 63, "a" * 64, "a" * 254, "é" * 63, "a." * 127),
)
HOSTS = st.lists(st.sampled_from(PIECES) | st.text(st.characters(codec=None), max_size=3), max_size=5).map("".join)
STARTS = st.sampled_from(["http://", "https://", "HTTP://", "http:/", "http:", "http:///", "//", ""])
ENDS = st.sampled_from(["", "/", "/a.mp4", ":80/", ":0/", "?a", "#a", "/\ud800", "/%ff", " "])
POLICIES = [AddressPolicy(), AddressPolicy(own_port=80)]


@settings(max_examples=1000)
@given(st.builds("{}{}{}".format, STARTS, HOSTS, ENDS), st.sampled_from(POLICIES))
@example("http://xn--/", POLICIES[0])
@example("http://xn--localhost-/", POLICIES[0])
@example("http://[::1]x@/", POLICIES[0])  # an IndexError of yarl
def test_any_address_is_taken_or_refused_in_a_sentence(url: str, policy: AddressPolicy) -> None:
    with suppress(FetchError):
        check_url(url, "video_url", policy)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://xn--/", "this is not a URL."),
        ("http://xn--localhost-/", "this is not a URL."),
        ("http://xn--xn--/", "this is not a URL."),
        ("http://[::1]x@/", "this is not a URL."),
        ("http://[::1", "this is not a URL."),
        ("http://a:99999/", "this is not a URL."),
        ("http://" + "a" * MAX_URL_CHARACTERS, "the address is longer than 4096 characters."),
    ],
)
def test_what_is_no_address_is_called_so(url: str, sentence: str) -> None:
    with pytest.raises(FetchError) as error:
        check_url(url, "video_url")
    assert str(error.value) == f"video_url: {sentence}"


@pytest.mark.parametrize("url", ["http://xn--fiq228c.example/", "https://对口.example/a.mp4", "http://a_b.example:8/"])
def test_names_of_any_script_are_taken(url: str) -> None:
    check_url(url, "video_url")
