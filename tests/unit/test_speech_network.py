"""The network in numpy."""

import numpy as np
import pytest

from duikou.errors import ModelError
from duikou.speech import network
from duikou.speech.features import BANDS
from duikou.speech.motion import CURVES
from duikou.speech.network import REACH, Network


@pytest.fixture(scope="module")
def net() -> Network:
    return Network.load()


def features(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (rows, BANDS)).astype(np.float32)


def test_parts_are_the_whole(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = features(700)
    whole = net.run(heard)
    monkeypatch.setattr(network, "_CHUNK", 150)
    np.testing.assert_allclose(net.run(heard), whole, atol=1e-5)


def test_a_row_hears_so_far_and_no_farther(net: Network) -> None:
    heard = features(400)
    changed = heard.copy()
    changed[200] += 3.0
    moved = np.flatnonzero(np.abs(net.run(changed) - net.run(heard)).max(1) > 1e-6)
    assert 200 - REACH <= moved.min() < 200 - REACH // 2
    assert 200 + REACH // 2 < moved.max() <= 200 + REACH


@pytest.mark.parametrize("rows", [0, 1, 3, 200])
def test_any_length(net: Network, rows: int) -> None:
    out = net.run(features(rows))
    assert out.shape == (rows, len(CURVES)) and np.isfinite(out).all()


def test_wild_input_stays_finite(net: Network) -> None:
    assert np.isfinite(net.run(features(50) * np.float32(1e4))).all()


def test_missing_weights_are_told() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.npz cannot be read"):
        Network.load("nowhere.npz")


def test_the_networks_differ_and_their_mean_is_taken() -> None:
    heard = features(120)
    outs = [Network.load(name).run(heard) for name in network.WEIGHTS]
    assert np.abs(outs[0] - outs[1]).max() > 0.05
    np.testing.assert_allclose(network.raw_curves(heard), (outs[0] + outs[1]) / 2, atol=1e-6)


def test_weights_of_another_shape_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CHANNELS", 64)
    with pytest.raises(ModelError, match=r"input of shape \(128, 80, 5\), not \(64, 80, 5\)"):
        Network.load()
