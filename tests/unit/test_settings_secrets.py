"""No command shows the value of a setting that it cannot use, whichever setting it is and whatever is wrong with it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from duikou.cli import main
from duikou.settings import Settings

MARK = "mArKeD7391"
FREE = {"data", "port", "worker_metrics_port"}  # the folder that errors name; a number is no secret
POSTGRESQL = "postgresql+psycopg://"
NOWHERE = "127.0.0.1:1"  # where nothing listens
VALUES = {
    "host": [MARK],
    "database_url": [
        MARK,
        f"{POSTGRESQL}u:{MARK}@{NOWHERE}/d",
        f"{POSTGRESQL}{MARK}:p@{NOWHERE}/d",
        f"{POSTGRESQL}u@{NOWHERE}/d?password={MARK}",
        f"{POSTGRESQL}u@{NOWHERE}/d?sslmode={MARK}",
        f"{POSTGRESQL}u@{NOWHERE}/d?{MARK}=1",
        f"{POSTGRESQL}u:p@{MARK}@{NOWHERE}/d",
        f"{POSTGRESQL}u@127.0.0.1:{MARK}/d",
        f"{POSTGRESQL}u:{MARK}@[::1/d",
        f"{MARK}://u@{NOWHERE}/d",
        f"mysql://u:{MARK}@{NOWHERE}/d",
        f"sqlite:////nowhere/{MARK}?mode={MARK}",
    ],
    "broker_url": [
        MARK,
        f"amqp://u:{MARK}@{NOWHERE}/v",
        f"amqp://u:{MARK}@127.0.0.1:x/v",
        f"amqp://u:p@{NOWHERE}/{MARK}",
        f"redis://:{MARK}@{NOWHERE}/0",
        f"redis://u@{NOWHERE}/{MARK}",
    ],
    "storage_url": [
        MARK,
        f"s3://bucket/?secret_access_key={MARK}",
        f"s3://key:{MARK}@bucket",
        f"s3://bucket/..{MARK}/..?endpoint=http://{NOWHERE}",
        f"s3://bucket?endpoint=http://u:{MARK}@{NOWHERE}",
        f"s3://bucket?endpoint={MARK}",
        f"s3://{MARK}/{MARK}?endpoint=http://{NOWHERE}",
        f"file:///nowhere/{MARK}",
        f"https://{MARK}@host",
    ],
    "otel_endpoint": [MARK, f"ftp://u:{MARK}@h"],
    "c2pa_certificate": [f"/nowhere/{MARK}.pem"],
    "c2pa_key": [f"/nowhere/{MARK}.pem"],
    "aigc_producer": [f'"{MARK}"'],
}
"""Values that cannot be used, of settings that take any text; of any other setting the mark alone is one."""
ALWAYS_TAKEN = {"public_url", "metrics_token"}  # texts that no command refuses: `test_telemetry_logs` runs a fleet
FLEET = {"database_url", "broker_url", "storage_url"}
COMMANDS = (["serve"], ["worker"], ["keys", "make", "a"], ["tasks", "list"])


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting but a folder and a free port, and the root logger as it was."""
    for name in [name for name in os.environ if name.startswith(("DUIKOU_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUIKOU_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DUIKOU_PORT", "0")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"aws-{MARK}")
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


def surround(monkeypatch: pytest.MonkeyPatch, name: str, value: str, shared: Path) -> None:
    """Set a setting, and those that it needs, of which the database cannot be reached."""
    if name in FLEET:
        monkeypatch.setenv("DUIKOU_STORAGE_URL", shared.as_uri())
        monkeypatch.setenv("DUIKOU_DATABASE_URL", f"{POSTGRESQL}u:{MARK}@{NOWHERE}/d")
        monkeypatch.setenv("DUIKOU_BROKER_URL", f"amqp://u:{MARK}@{NOWHERE}/v")
    if name == "storage_url":  # is asked only after the database
        monkeypatch.delenv("DUIKOU_DATABASE_URL")
        monkeypatch.delenv("DUIKOU_BROKER_URL")
    if name.startswith("c2pa"):
        monkeypatch.setenv("DUIKOU_C2PA_CERTIFICATE", value)
        monkeypatch.setenv("DUIKOU_C2PA_KEY", value)
    monkeypatch.setenv(f"DUIKOU_{name.upper()}", value)


def test_every_setting_is_tried() -> None:
    texts = {name for name, field in Settings.model_fields.items() if field.annotation in (str, Path, Path | None)}
    assert texts == (VALUES.keys() | ALWAYS_TAKEN | FREE) - {"port", "worker_metrics_port"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in Settings.model_fields
        if name not in {*ALWAYS_TAKEN, "data"}
        for value in VALUES.get(name, [MARK])
    ],
)
def test_no_command_shows_what_it_cannot_use(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared").mkdir()
    surround(monkeypatch, name, value, tmp_path / "shared")
    refused = []
    for command in COMMANDS if name in FLEET else COMMANDS[:2]:
        if command == ["worker"] and name == "storage_url":
            continue  # it wants a broker first
        status = main.run(command)
        shown = capfd.readouterr()
        assert MARK not in shown.out + shown.err, command
        assert "Traceback" not in shown.err, command
        if status:
            refused.append(command)
            assert status in (1, 2)
            told = [line for line in shown.err.splitlines() if not line.startswith(("{", "using ", "20"))]
            assert told, command
            assert len(told) == 1, command
            assert told[0].startswith("duikou: "), command
    assert ["serve"] in refused or name == "broker_url", refused


def test_the_missing_setting_is_named_and_the_other_one_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUIKOU_DATABASE_URL", f"{POSTGRESQL}u:{MARK}@{NOWHERE}/d")
    for command in (*COMMANDS, ["keys", "list"], ["doctor"]):
        assert main.run(command) == 2
        assert capsys.readouterr().err == (
            "duikou: DUIKOU_STORAGE_URL is missing: DUIKOU_DATABASE_URL is set, and every server on that database must "
            "find the same files\n"
        )


@pytest.mark.parametrize(("name", "value"), [(name, values[-1]) for name, values in VALUES.items() if name != "host"])
def test_doctor_shows_no_value(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    surround(monkeypatch, name, value, tmp_path)
    main.run(["doctor"])
    shown = capfd.readouterr()
    assert MARK not in shown.out + shown.err


def test_doctor_shows_no_secret_in_json(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DUIKOU_DATABASE_URL", f"{POSTGRESQL}u:{MARK}@{NOWHERE}/d")
    monkeypatch.setenv("DUIKOU_BROKER_URL", f"amqp://u:{MARK}@{NOWHERE}/v")
    monkeypatch.setenv("DUIKOU_STORAGE_URL", f"file:///nowhere/{MARK}")
    assert main.run(["doctor", "--json"]) == 1
    shown = capfd.readouterr()
    assert MARK not in shown.out + shown.err
    checks = {check["name"]: check for check in json.loads(shown.out)["checks"]}
    assert [checks[name]["ok"] for name in ("packages", "database", "broker", "storage")] == [True, False, False, False]
    assert checks["broker"]["found"] == "the message broker does not answer"
