"""The articulation network in PyTorch, for training only, and its export for `duikou.speech.network`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duikou.speech.features import BANDS
from duikou.speech.motion import CURVES
from duikou.speech.network import CHANNELS, DILATIONS, EPSILON, GROUPS, TAPS


class RowNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, N)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(CHANNELS, 1)), nn.Parameter(torch.zeros(CHANNELS, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Same shape as `values`."""
        centred = values - values.mean(1, keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean(1, keepdim=True) + EPSILON) * self.scale + self.shift


class ArticulationNet(nn.Module):
    """Dilated residual convolutions: (B, 80, N) log-mel to (B, len(CURVES), N), the last four as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv1d(BANDS, CHANNELS, TAPS, padding=TAPS // 2)
        self.norms = nn.ModuleList(RowNorm() for _ in DILATIONS)
        self.wide = nn.ModuleList(
            nn.Conv1d(CHANNELS, CHANNELS, TAPS, padding=TAPS // 2 * dilation, dilation=dilation, groups=GROUPS)
            for dilation in DILATIONS
        )
        self.narrow = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in DILATIONS)
        self.norm = RowNorm()
        self.output = nn.Conv1d(CHANNELS, len(CURVES), 1)

    def forward(self, features: Tensor) -> Tensor:
        """Curves of features."""
        hidden = self.input(features)
        for norm, wide, narrow in zip(self.norms, self.wide, self.narrow, strict=True):
            hidden = hidden + narrow(functional.silu(wide(norm(hidden))))
        return self.output(self.norm(hidden))


def export(net: ArticulationNet, path: Path) -> None:
    """Write the weights as float16 arrays, named and laid out as `duikou.speech.network.Network` reads them."""
    state = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    arrays = {"input": state["input.weight"], "input_bias": state["input.bias"]}
    for block in range(len(DILATIONS)):
        wide = state[f"wide.{block}.weight"]
        arrays[f"norm{block}_scale"] = state[f"norms.{block}.scale"][:, 0]
        arrays[f"norm{block}_shift"] = state[f"norms.{block}.shift"][:, 0]
        arrays[f"wide{block}"] = wide.reshape(GROUPS, CHANNELS // GROUPS, CHANNELS // GROUPS, TAPS)
        arrays[f"wide{block}_bias"] = state[f"wide.{block}.bias"]
        arrays[f"narrow{block}"] = state[f"narrow.{block}.weight"][:, :, 0]
        arrays[f"narrow{block}_bias"] = state[f"narrow.{block}.bias"]
    arrays |= {"norm_scale": state["norm.scale"][:, 0], "norm_shift": state["norm.shift"][:, 0]}
    arrays |= {"output": state["output.weight"][:, :, 0], "output_bias": state["output.bias"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array.astype(np.float16) for name, array in arrays.items()})
