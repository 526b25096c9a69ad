"""Settings that are read from text, and those that need each other."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ()),
        ("https://app.example.com", ("https://app.example.com",)),
        (" HTTPS://App.example.com/ ,http://localhost:5173,", ("https://app.example.com", "http://localhost:5173")),
        (
            "https://a:443,http://a:80,https://a:80,http://[::1]:8080",
            ("https://a", "http://a", "https://a:80", "http://[::1]:8080"),
        ),
    ],
)
def test_origins(text: str, value: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_ALLOWED_ORIGINS", text)
    assert Settings().allowed_origins == value


NO_ORIGINS = (
    "*",
    "null",
    "app.example.com",
    "https://a/b",
    "https://*.a",
    "https://a:0",
    "ftp://a",
    "https://me:word@a",
)


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_what_is_no_origin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_ALLOWED_ORIGINS", text)
    with pytest.raises(ValidationError, match="each entry must be an origin such as "):
        Settings()


def test_proxies_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert [str(network) for network in Settings().trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    monkeypatch.setenv("DUIKOU_TRUSTED_PROXIES", "proxy.lan")
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings()


DATABASE, STORAGE = "postgresql+psycopg://user@db/duikou", "s3://bucket?endpoint=https://s3&region=r"


@pytest.mark.parametrize("broker", ["amqp://mq", "amqps://mq", "redis://mq", "rediss://mq"])
def test_a_fleet_has_a_broker_a_database_and_a_storage(broker: str) -> None:
    settings = Settings(broker_url=broker, database_url=DATABASE, storage_url=STORAGE)
    assert settings.broker_url == broker


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"broker_url": "amqp://mq"}, "DUIKOU_BROKER_URL needs DUIKOU_DATABASE_URL"),
        ({"broker_url": "amqp://mq", "storage_url": STORAGE}, "DUIKOU_BROKER_URL needs DUIKOU_DATABASE_URL"),
        ({"database_url": DATABASE}, "DUIKOU_DATABASE_URL needs DUIKOU_STORAGE_URL"),
        ({"broker_url": "mq:5672"}, "DUIKOU_BROKER_URL must begin with amqp://, amqps://, redis:// or rediss://"),
        ({"storage_links": "open"}, "storage_links"),
        ({"render_queue": "identify"}, "render_queue"),
        ({"c2pa_key": "key.pem"}, "DUIKOU_C2PA_CERTIFICATE and DUIKOU_C2PA_KEY must be set together"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(**given)


def test_servers_that_share_a_database_need_no_broker_and_one_may_keep_its_files_elsewhere() -> None:
    assert Settings(database_url=DATABASE, storage_url=STORAGE).broker_url == ""
    assert Settings(storage_url=STORAGE).database_url == ""
