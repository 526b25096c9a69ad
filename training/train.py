"""Train the articulation network from scratch: `python -m training.train`.

Generates the corpus (or reads it from the cache), trains, selects the checkpoint on held-out voices, and writes the
weights and a file of metrics into the package. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from duikou.arrays import Float64Array
from duikou.speech.features import BANDS, normalise
from duikou.speech.motion import CURVES
from duikou.speech.network import WEIGHTS
from training import corpus, synthesizers
from training.augment import LONGEST_STRETCH, augment, stretch
from training.network import ArticulationNet, export

OUT = Path(__file__).parent.parent / "src" / "duikou" / "speech" / "weights"


MINUTES = {"espeak": 100.0, "flite": 30.0, "festival": 60.0, "open_jtalk": 10.0, "hibari": 25.0}
"""Minutes of speech of each installed synthesizer: more voices speak for longer."""


@dataclass(frozen=True)
class Recipe:
    """Every choice that the weights depend on."""

    minutes: dict[str, float] = field(default_factory=lambda: dict(MINUTES))  # of each synthesizer
    held_out_minutes: float = 6.0  # of each that has voices to spare
    steps: int = 0  # 0 stands for the network's value in `STEPS`
    batch: int = 16
    rows: int = 260  # 2.6 s: a phrase and the adjacent pause
    peak_rate: float = 6e-3
    weight_decay: float = 0.01
    averaging: float = 0.998  # of the weights, per step
    checks: int = 4  # of held-out voices, over the last half
    threads: int = 2
    seed: int = 1


# Steps of each network. More steps fit the synthesizers' voices better, fewer generalise to real voices: both are used.
STEPS = dict(zip(WEIGHTS, (2600, 5000), strict=True))

# Weight of each curve: people see the opening of the lips most; closures are rare and matter most after it.
LOSS = {"gap": 4.0, "jaw": 2.0, "width": 1.0, "round": 2.0, "closure": 1.2, "dental": 0.6, "tongue": 0.2, "voice": 0.3}
EXAM_BATCHES = 8  # of held-out voices, augmented like the rest, the same at every check
# Weight of the positive class of rare curves: lips that touch the teeth too often are better than lips that never do.
RARE = {"closure": 2.0, "dental": 5.0}
_SQUARED = 4  # curves learned by squared error; the rest by cross entropy


class Crops:
    """Draws batches of crops from a corpus."""

    def __init__(self, data: corpus.Corpus, recipe: Recipe, seed: int) -> None:
        self._data, self._recipe, self._rng = data, recipe, np.random.default_rng(seed)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Augmented features (B, 80, N) and their targets (B, len(CURVES), N)."""
        size, rows = self._recipe.batch, self._recipe.rows
        power, targets = stretch(*self._cut(size, int(rows * LONGEST_STRETCH)), rows, self._rng)
        others, _ = self._cut(size, rows)
        heard = normalise(augment(power, others, self._rng).astype(np.float32))
        targets = targets.astype(np.float32)
        return torch.from_numpy(heard.transpose(0, 2, 1).copy()), torch.from_numpy(targets.transpose(0, 2, 1).copy())

    def _cut(self, count: int, length: int) -> tuple[Float64Array, Float64Array]:
        starts = self._rng.integers(0, len(self._data.targets) - length, count)
        rows = starts[:, None] + np.arange(length)
        return np.exp(self._data.log_power[rows].astype(np.float64)), self._data.targets[rows].astype(np.float64)


def loss_of(out: Tensor, targets: Tensor) -> Tensor:
    """The weighted loss of a batch."""
    total = torch.zeros(())
    for column, name in enumerate(CURVES):
        ours, wanted = out[:, column], targets[:, column]
        if column < _SQUARED:
            loss = functional.mse_loss(ours, wanted)
        else:
            weight = torch.tensor(RARE.get(name, 1.0))
            loss = functional.binary_cross_entropy_with_logits(ours, wanted, pos_weight=weight)
        total = total + LOSS[name] * loss
    return total


def check(net: ArticulationNet, batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Correlation of every curve with its target over held-out crops, and their mean."""
    net.eval()
    with torch.no_grad():
        out = torch.cat([net(features).transpose(1, 2).reshape(-1, len(CURVES)) for features, _ in batches]).numpy()
    net.train()
    targets = torch.cat([wanted.transpose(1, 2).reshape(-1, len(CURVES)) for _, wanted in batches]).numpy()
    out[:, _SQUARED:] = 1 / (1 + np.exp(-out[:, _SQUARED:]))
    figures = {name: float(np.corrcoef(out[:, k], targets[:, k])[0, 1]) for k, name in enumerate(CURVES)}
    return {"mean": float(np.mean(list(figures.values()))), **figures}


def train(recipe: Recipe, weights: Path) -> dict[str, object]:
    """Train one network, write its weights, and its metrics beside them as `.json`; return the metrics."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    data = corpus.join([
        corpus.load(name, minutes, held_out=False, seed=recipe.seed) for name, minutes in recipe.minutes.items()
    ])  # fmt: skip
    strangers = {
        name: corpus.load(name, recipe.held_out_minutes, held_out=True, seed=1000)
        for name in recipe.minutes
        if name in synthesizers.HELD_OUT
    }
    spoken = time.monotonic()
    print(f"corpus: {data.minutes:.0f} min of {', '.join(recipe.minutes)}, {spoken - started:.0f} s", flush=True)
    crops = Crops(data, recipe, recipe.seed)
    judges = {name: Crops(voices, recipe, 2000) for name, voices in strangers.items()}
    exams = {name: [judge.draw() for _ in range(EXAM_BATCHES)] for name, judge in judges.items()}
    net = ArticulationNet()
    average = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.peak_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_rate, total_steps=recipe.steps)
    best, best_step, best_figures = -1.0, 0, dict[str, dict[str, float]]()
    every = max(recipe.steps // (2 * recipe.checks), 1)
    for step in range(1, recipe.steps + 1):
        features, targets = crops.draw()
        loss = loss_of(net(features), targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        keep = min(recipe.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, value in zip(average.parameters(), net.parameters(), strict=True):
                kept.lerp_(value, 1 - keep)
        if step % every == 0 and (step > recipe.steps // 2 or step == every):
            figures = {name: check(average, exam) for name, exam in exams.items()}
            mean = float(np.mean([figure["mean"] for figure in figures.values()]))
            seconds = time.monotonic() - spoken
            print(f"step {step} of {recipe.steps}, {seconds:.0f} s, loss {loss.item():.4f}", flush=True)
            for name, figure in figures.items():
                print("  " + name + "".join(f" {key} {value:.3f}" for key, value in figure.items()), flush=True)
            if mean > best:
                best, best_step, best_figures = mean, step, figures
                export(average, weights)
    report: dict[str, object] = {
        "recipe": asdict(recipe),
        "bands": BANDS,
        "curves": list(CURVES),
        "parameters": sum(value.numel() for value in net.parameters()),
        "corpus_minutes": round(data.minutes, 1),
        "torch": torch.__version__,
        "best_step": best_step,
        "r_on_held_out_voices": {
            name: {key: round(value, 3) for key, value in figure.items()} for name, figure in best_figures.items()
        },
    }
    weights.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"best at step {best_step}: mean r {best:.3f}; {time.monotonic() - started:.0f} s in all", flush=True)
    return report


def main() -> None:
    """The command line; without arguments it trains the networks that ship with the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    for name in ("held_out_minutes", "steps", "threads", "seed"):
        default = getattr(Recipe(), name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    options = vars(parser.parse_args())
    out: Path = options.pop("out")
    there = synthesizers.available()
    if missing := MINUTES.keys() - there:
        print(f"not installed, training without: {', '.join(sorted(missing))} (see training/README.md)", flush=True)
    minutes = {name: MINUTES[name] for name in there}
    steps = options.pop("steps")
    for name, own_steps in STEPS.items():
        train(Recipe(minutes=minutes, steps=steps or own_steps, **options), out / name)


if __name__ == "__main__":
    main()
