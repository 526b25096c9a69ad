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


DATABASE, STORAGE = "postgresql+psycopg://user@db/duikou", "s3://bucket?endpoint=https://s3&region=r"


@pytest.mark.parametrize("broker", ["amqp://mq", "amqps://mq", "redis://mq", "rediss://mq"])
def test_a_fleet_has_a_broker_a_database_and_a_storage(broker: str) -> None:
    settings = Settings(broker_url=broker, database_url=DATABASE, storage_url=STORAGE)
    assert settings.broker_url == broker


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"broker_url": "amqp://mq"}, "broker_url needs a database_url"),
        ({"broker_url": "amqp://mq", "storage_url": STORAGE}, "broker_url needs a database_url"),
        ({"database_url": DATABASE}, "database_url needs a storage_url"),
        ({"broker_url": "mq:5672"}, "broker_url must begin with amqp://, amqps://, redis:// or rediss://"),
        ({"storage_links": "open"}, "storage_links"),
        ({"render_queue": "analysis"}, "render_queue"),
        ({"c2pa_key": "key.pem"}, "c2pa_certificate and c2pa_key must be given together"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(**given)


def test_servers_that_share_a_database_need_no_broker_and_one_may_keep_its_files_elsewhere() -> None:
    assert Settings(database_url=DATABASE, storage_url=STORAGE).broker_url == ""
    assert Settings(storage_url=STORAGE).database_url == ""
