"""A linear layer on standardised features that starts as ridge regressions and can be trained further with what is below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from cyborg_utils.models.frozen import Frozen


class RidgeHead(nn.Module):
    """Features (n, width) to outputs (n, outputs), in units of `centre + spread * output`; see `start`."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("sd", torch.ones(width))
        self.linear = nn.Linear(width, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear((features - self.mean) / self.sd)

    @torch.no_grad()
    def start(self, regressions: Sequence[Frozen], centre: np.ndarray, spread: np.ndarray) -> None:
        """Take over the best guesses of a regression for each output, all fitted on the same features side by side."""
        for at, regression in enumerate(regressions):
            linear = regression.linear()
            self.mean.copy_(torch.from_numpy(linear.centre)), self.sd.copy_(torch.from_numpy(linear.spread))
            self.linear.weight[at] = torch.from_numpy(linear.weights / spread[at])
            self.linear.bias[at] = float((linear.intercept - centre[at]) / spread[at])
