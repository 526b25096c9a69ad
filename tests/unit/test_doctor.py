"""`duikou doctor`: what it finds here, and that it says what is missing."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import pytest

from duikou.cli import doctor, main
from duikou.model_files import MODELS
from duikou.settings import Settings


def test_everything_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in doctor.examine(Settings(data=tmp_path, min_free_mb=0))}
    assert all(check.ok for check in checks.values()), checks
    assert {"Python", "H.264 out", "AAC out", "HEVC in", "disk", "cores", "devices"} <= checks.keys()
    for model in MODELS:
        assert model.licence in checks[model.name].found
        assert model.sha256[:16] in checks[model.name].found
    assert importlib.metadata.version("av") in checks["H.264 out"].found


def test_a_missing_model_fails_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = replace(MODELS[0], module="no_such_wheel")
    altered = replace(MODELS[1], sha256="0" * 64)
    monkeypatch.setattr(doctor, "MODELS", (absent, altered))
    monkeypatch.setenv("DUIKOU_DATA", str(tmp_path))
    assert main.run(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("NO") and "missing" in line and absent.requirement in line for line in lines)
    assert any(line.startswith("NO") and "altered" in line and altered.requirement in line for line in lines)


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "CODECS", (("no_such_codec", "w", "H.266 out"),))
    check = next(check for check in doctor.examine(Settings(data=tmp_path)) if check.name == "H.266 out")
    assert not check.ok
    assert "no_such_codec" in check.found
    assert "pip install" in check.remedy


def test_a_certificate_that_cannot_sign_is_named(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text("junk")
    settings = Settings(data=tmp_path, c2pa_certificate=tmp_path / "chain.pem", c2pa_key=tmp_path / "key.pem")
    check = next(check for check in doctor.examine(settings) if check.name == "signature")
    assert not check.ok
    assert "key.pem cannot be read" in check.found
    assert "DUIKOU_C2PA_CERTIFICATE" in check.remedy


def test_a_full_disk_is_named_before_the_folder_exists(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "not" / "yet", min_free_mb=10**9)
    check = next(check for check in doctor.examine(settings) if check.name == "disk")
    assert not check.ok
    assert "DUIKOU_DATA" in check.remedy
    assert not settings.data.exists()
