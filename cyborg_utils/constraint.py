"""A penalty while a regression Student is trained: on held-out essays its mean score shall be people's, overall and by group.

With e_g the mean error (machine - human, in SDs of the training scores) of group g on the development essays, the loss becomes
squared error + weight * mean over g of e_g^2. A batch of development essays gives a rough e_g, so its running mean r_g over the
last updates stands for it: the gradient of 2 r_g e_g(batch) is that of e_g^2, with less noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from cyborg_utils import batching
from cyborg_utils.errors import CyborgError
from cyborg_utils.training import LengthTrainer

MEMORY = 0.9  # of the running mean: it looks back over about ten batches


@dataclass(frozen=True)
class MeanConstraint:
    """Whose means shall agree, and how much that counts against the squared error."""

    texts: tuple[str, ...]  # development essays
    scores: np.ndarray  # (n,), their human scores
    members: np.ndarray  # (G, n), True where the essay belongs to the group; the first row is everybody
    weight: float

    @classmethod
    def on(cls, dev: pd.DataFrame, *, weight: float, groups: Sequence[str] = (), min_group: int = 10) -> MeanConstraint:
        """From development essays (columns text, score, `groups`): everybody, and each group of at least `min_group` essays."""
        if dev.empty:
            raise CyborgError("a mean constraint needs development essays: give `dev` in prepare_data")
        members = [np.ones(len(dev), dtype=bool)]
        members += [(dev[name] == group).to_numpy() for name in groups for group in sorted(dev[name].dropna().unique())]
        kept = [row for row in members if row.sum() >= min_group or row.all()]
        return cls(tuple(dev["text"]), dev["score"].to_numpy(dtype=float), np.array(kept), weight)

    def mark(self) -> dict[str, Any]:
        """All that decides the numbers, for `provenance.fingerprint`."""
        return {"weight": self.weight, "texts": self.texts, "scores": self.scores.tolist(), "members": self.members.tolist()}


class ConstrainedTrainer(LengthTrainer):
    """`LengthTrainer` with the penalty: each update sees a batch of development essays too, which doubles its time.

    The running means are a buffer of the model, so that they are part of a checkpoint.
    """

    def __init__(
        self, *, constraint: MeanConstraint, ids: Sequence[Sequence[int]], targets: np.ndarray, collate: Callable, **options: Any
    ) -> None:
        """ids (n rows) and targets (n,), in the network's units, of the constraint's essays; `collate` makes a batch of ids."""
        options["model"].register_buffer("running", torch.zeros(len(constraint.members)), persistent=True)
        super().__init__(**options)
        self.constraint, self.ids, self.collate = constraint, ids, collate
        self.targets, self.members = torch.tensor(targets, dtype=torch.float32), torch.tensor(constraint.members).float()
        self.dev = batching.LengthBatches([*map(len, ids)], self.args.train_batch_size, seed=self.args.seed)

    def compute_loss(self, model, inputs, return_outputs=False, **options):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
        loss = loss + self.constraint.weight * self._penalty(model)
        return (loss, outputs) if return_outputs else loss

    def _penalty(self, model) -> torch.Tensor:
        epoch, place = divmod(self.state.global_step, len(self.dev))
        self.dev.set_epoch(epoch)
        batch = list(self.dev)[place]
        inputs = {name: value.to(model.running.device) for name, value in self.collate([self.ids[at] for at in batch]).items()}
        error = model(**inputs)["output"][:, 0] - self.targets[batch].to(model.running.device)
        members = self.members[:, batch].to(model.running.device)
        count = members.sum(1)
        mean, seen = (members @ error) / count.clamp(min=1), count > 0
        with torch.no_grad():
            model.running[seen] = MEMORY * model.running[seen] + (1 - MEMORY) * mean[seen]
        return (2 * model.running * mean).mean()  # a group that the batch lacks adds 0
