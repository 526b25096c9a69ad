"""A GPU takes the place of the processor only where it may, gives the same answers and is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from duikou.arrays import Float32Array
from duikou.cli import doctor
from duikou.faces import devices, networks
from duikou.faces.devices import Run, Trial
from duikou.model_files import FACE_DETECTOR
from duikou.settings import Settings

SIDE = 8


def processor(picture: Float32Array) -> dict[str, Float32Array]:
    return {"sum": picture.sum(axis=2)}


def close(picture: Float32Array) -> dict[str, Float32Array]:
    return {"sum": picture.sum(axis=2) + np.float32(devices.TOLERANCE / 2)}


def slow(picture: Float32Array) -> dict[str, Float32Array]:
    return processor(picture)


def other(picture: Float32Array) -> dict[str, Float32Array]:
    return {"sum": picture.sum(axis=2) * 2}


def not_numbers(picture: Float32Array) -> dict[str, Float32Array]:
    return {"sum": picture.sum(axis=2) * np.nan}


def broken(_: Float32Array) -> dict[str, Float32Array]:
    raise RuntimeError("ERROR: [compiled_model.cc] no adapter\nmore")


@pytest.fixture(autouse=True)
def gpu_may_be_used(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(devices, "_trials", {})
    monkeypatch.setattr(devices, "gpu_is_there", lambda: True)
    monkeypatch.setattr(devices, "_ms", lambda run, _: {processor: 10.0, slow: 8.1}.get(run, 7.9))
    devices.allow_gpu()
    yield
    devices.allow_gpu(allowed=False)


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (close, ""),
        (slow, "it takes 8.1 ms and the processor 10.0 ms"),
        (other, "its answers differ by"),
        (not_numbers, "its answers differ by nan"),
        (broken, "LiteRT cannot use it (ERROR: [compiled_model.cc] no adapter)"),
    ],
)
def test_a_gpu_is_used_if_it_agrees_and_is_faster(gpu: Run, reason: str) -> None:
    found = devices.trial(processor, lambda: gpu, SIDE)
    assert found.reason.startswith(reason) and bool(found.reason) == bool(reason)
    assert devices.chosen("network", processor, lambda: gpu, SIDE) is (processor if reason else gpu)


def test_a_network_is_tried_once_in_a_process() -> None:
    made: list[int] = []

    def gpu() -> Run:
        made.append(1)
        return close

    assert [devices.chosen("network", processor, gpu, SIDE) for _ in range(3)] == [close] * 3
    assert len(made) == 4  # for the trial, and one of its own for each
    devices.chosen("another", processor, gpu, SIDE)
    assert len(made) == 6


def no_gpu() -> Run:
    raise AssertionError("it was tried")


def test_none_is_tried_where_none_is_allowed_or_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_is_there", lambda: False)
    assert devices.chosen("network", processor, no_gpu, SIDE) is processor
    assert devices.trial(processor, no_gpu, SIDE) == Trial(reason="there is no GPU")
    monkeypatch.setattr(devices, "gpu_is_there", lambda: True)
    devices.allow_gpu(allowed=False)
    assert devices.chosen("network", processor, no_gpu, SIDE) is processor


@pytest.mark.parametrize("name", ["dev/dri/renderD128", "dev/nvidia0"])
def test_a_device_is_a_reason_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("sys.platform", "linux")
    assert not devices.gpu_is_there(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert devices.gpu_is_there(tmp_path)


@pytest.mark.parametrize("content", [FACE_DETECTOR.read, networks._landmarks], ids=["detector", "landmarks"])
def test_both_interfaces_of_litert_give_the_same_answers(content: Callable[[], bytes]) -> None:
    model = content()
    usual, accelerated = networks.Network(model), networks.Accelerated(model, on_gpu=False)
    for seed in range(2):
        picture = np.random.default_rng(seed).random((usual.side, usual.side, 3), dtype=np.float32)
        expected, found = usual(picture), accelerated(picture)
        assert expected.keys() == found.keys()
        assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_what_litert_says_of_a_gpu_that_does_not_work_is_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    trials = networks.trials()
    if not all(one.reason for one in trials.values()):
        pytest.skip("this machine has a GPU")
    assert set(trials) == {"landmarks", "detector"}
    assert "adapters" not in capfd.readouterr().err


def test_the_doctor_tells_where_networks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> str:
        return next(one for one in doctor.examine(Settings(data=tmp_path)) if one.name == "devices").found

    monkeypatch.setattr(
        networks, "trials", lambda: {"a": Trial(5.2, 1.0), "b": Trial(reason="its answers differ by 1")}
    )
    assert "a on a GPU: yes, 1.0 ms in place of 5.2 ms; b on a GPU: its answers differ by 1; " in found()
    monkeypatch.setattr(devices, "gpu_is_there", lambda: False)
    assert "no GPU for the face networks" in found()
