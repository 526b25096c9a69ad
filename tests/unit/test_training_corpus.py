"""What the network is trained on: takes of speech, made worse in many ways, and its export."""

from pathlib import Path

import numpy as np
import pytest

from duikou.speech.motion import CURVES
from training import augment, texts

pytest.importorskip("espeakng_loader", reason="espeakng-loader is in the dev extra")


def speech(crops: int = 6, rows: int = 200) -> np.ndarray:
    """Something with speech's dynamics: bursts of shaped power, pauses between."""
    rng = np.random.default_rng(0)
    loud = (np.sin(np.arange(rows) / 9) > 0)[None, :, None]
    return np.asarray(loud * rng.gamma(1.0, 1.0, (crops, rows, 80)) * np.exp(rng.normal(0, 1, (crops, 1, 80))))


def test_augmented_power_is_power_and_follows_the_seed() -> None:
    first, again, other = (augment.augment(speech(), speech(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 200, 80)
    assert np.isfinite(first).all() and first.min() > 0
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.log(first) - np.log(other)).mean() > 0.1


def test_speech_is_still_heard_through_it() -> None:
    power = speech(crops=40)
    heard = augment.augment(power, speech(crops=40), np.random.default_rng(0))
    follows = [
        np.corrcoef(np.log(a.mean(1) + 1e-3), np.log(b.mean(1)))[0, 1] for a, b in zip(power, heard, strict=True)
    ]
    assert np.median(follows) > 0.6


def test_throats_move_the_spectrum_and_keep_its_order() -> None:
    power = np.zeros((20, 3, 80))
    power[:, :, 30] = 1.0
    peaks = augment.warp_formants(power, np.random.default_rng(0))[:, 1].argmax(1)
    assert peaks.min() < 29 and peaks.max() > 31 and np.all((peaks > 20) & (peaks < 42))


def test_rooms_ring_after_the_sound_and_never_before() -> None:
    power = np.zeros((20, 60, 80))
    power[:, 30] = 1.0
    heard = augment.reverberate(power.copy(), np.random.default_rng(0))
    assert not heard[:, :30].any()
    assert 0 < (heard[:, 31:].max((1, 2)) > 0).sum() < 20


def test_texts_come_in_every_kind_and_from_the_seed_alone() -> None:
    import random

    pytest.importorskip("wordfreq", reason="wordfreq is needed for training only")
    rng = random.Random(0)
    drawn = [texts.draw("en", rng) for _ in range(60)]
    again = random.Random(0)
    assert drawn == [texts.draw("en", again) for _ in range(60)]
    assert any(text in texts.SENTENCES["en"] for text in drawn)
    assert any(any(char.isdigit() for char in text) for text in drawn)
    assert all(texts.draw(language, rng) for language in texts.languages())


def test_random_voices_are_voices(tmp_path: Path) -> None:
    from training.synthesizers.espeak import Espeak, random_voices

    data = tmp_path / "espeak-ng-data"
    names = random_voices(data, 3, seed=0)
    assert len({(data / "voices" / "!v" / name).read_text() for name in names}) == 3
    with pytest.raises(ValueError, match=r"no voice en-us\+nobody"):
        Espeak().speak("no", "en-us", "nobody")
    with pytest.raises(ValueError, match="no voice nowhere"):
        Espeak().speak("no", "nowhere")


def test_a_take_has_a_target_for_every_row() -> None:
    import random

    from training.corpus import TAKE_S, of, take_of
    from training.synthesizers.espeak import Espeak

    engine = Espeak()
    take = take_of(lambda: engine.speak("My mother may bake bread.", "en-us", "f1"), random.Random(0))
    corpus = of([take, take])
    power, target = np.exp(take.log_power.astype(float)), corpus.targets[: len(take.log_power)]
    np.testing.assert_array_equal(corpus.targets[len(target) :], target)
    assert target.shape == (len(power), len(CURVES))
    assert TAKE_S * 100 < len(target) < TAKE_S * 200
    voice, loud = target[:, CURVES.index("voice")], power.mean(1)
    assert loud[voice > 0.9].mean() > 100 * loud[voice < 0.1].mean()


def test_both_implementations_of_the_network_agree(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is needed for training only")
    from duikou.speech.network import Network
    from training.network import ArticulationNet, export

    torch.manual_seed(0)
    net = ArticulationNet().eval()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(value.half().float())  # as it is stored
        heard = torch.randn(1, 80, 90)
        wanted = net(heard)[0].T.numpy()
    wanted[:, 4:] = 1 / (1 + np.exp(-wanted[:, 4:]))
    export(net, tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as arrays:
        ours = Network({name: arrays[name].astype(np.float32) for name in arrays.files}).run(heard[0].T.numpy())
    np.testing.assert_allclose(ours, wanted, atol=1e-4)
