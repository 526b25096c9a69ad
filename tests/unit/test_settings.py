"""Settings that are read from text, and those that need each other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from duikou.settings import Settings, misspelt


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
        ({"broker_url": "amqp://mq"}, "DUIKOU_DATABASE_URL is missing: DUIKOU_BROKER_URL is set, and "),
        ({"broker_url": "amqp://mq", "storage_url": STORAGE}, "DUIKOU_DATABASE_URL is missing: "),
        ({"database_url": DATABASE}, "DUIKOU_STORAGE_URL is missing: DUIKOU_DATABASE_URL is set, and "),
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


def test_passwords_and_tokens_are_known_as_secrets_and_ordinary_words_are_not() -> None:
    settings = Settings(
        database_url="postgresql+psycopg://duikou:p%40ssw0rd1@db/duikou?sslmode=require&password=other-word",
        storage_url=STORAGE,
        metrics_token="metrics-token",
        otel_endpoint="https://name:pass-word-2@otel",
    )
    secrets = settings.secrets()
    assert {"p%40ssw0rd1", "p@ssw0rd1", "other-word", "metrics-token", "pass-word-2"} <= secrets
    assert not secrets & {"require", "duikou", "", "r", "https://s3", "/data", str(settings.data)}


def test_the_secrets_of_the_storage_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-key")
    assert "aws-secret-key" in Settings().secrets()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("DUIKOU_PROT", "there is no setting DUIKOU_PROT; did you mean DUIKOU_PORT?"),
        ("DUIKOU_DATABSE_URL", "there is no setting DUIKOU_DATABSE_URL; did you mean DUIKOU_DATABASE_URL?"),
        ("DUIKOU_STORAGE", "there is no setting DUIKOU_STORAGE; did you mean DUIKOU_STORAGE_URL?"),
        ("duikou_workrs", "there is no setting duikou_workrs; did you mean DUIKOU_WORKERS?"),
        ("DUIKOU_ZZZZZZZZ", "there is no setting DUIKOU_ZZZZZZZZ"),
    ],
)
def test_a_misspelt_setting_is_told_with_the_nearest_name(name: str, sentence: str) -> None:
    right = [f"DUIKOU_{field.upper()}" for field in Settings.model_fields]
    assert misspelt([*right, "DUIKOU_DEBUG", "duikou_port", "PATH", name]) == [sentence]
