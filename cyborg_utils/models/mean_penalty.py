"""A penalty in a regression Student's loss that keeps its mean score on held-out essays at people's, overall and by group.

Let e_g be the mean error (machine - human, in SDs of the training scores) of group g on the development essays. The loss is
squared error + weight * mean over g of e_g^2. An update can read only a few of these essays. Their mean error is mostly noise,
and the weight multiplies it: Students trained that way gave everybody nearly the same score. So e_g is the mean over all essays
of the error when last read, corrected by how much the few have changed since. That is up to date and has little noise (the idea
of SAGA: Defazio, Bach & Lacoste-Julien 2014). With a large weight training still oscillates, since a wrong mean outweighs
everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import recipes, trainer
from cyborg_utils.models.trainer import LengthTrainer


@dataclass(frozen=True)
class MeanConstraint:
    """The groups whose means should agree, and the weight of that against the squared error."""

    texts: tuple[str, ...]  # development essays
    scores: np.ndarray  # (n,), their human scores
    members: np.ndarray  # (G, n), True where the essay belongs to the group; the first row is everybody
    weight: float

    @classmethod
    def on(cls, dev: pd.DataFrame, *, weight: float, groups: Sequence[str] = (), min_group: int = 10) -> MeanConstraint:
        """A constraint on development essays (columns text, score, `groups`): on all, and on groups of at least `min_group`."""
        if dev.empty:
            raise CyborgError("a mean constraint needs development essays: give `dev` in prepare_data")
        members = [np.ones(len(dev), dtype=bool)]
        members += [(dev[name] == group).to_numpy() for name in groups for group in sorted(dev[name].dropna().unique())]
        kept = [row for row in members if row.sum() >= min_group or row.all()]
        return cls(tuple(dev["text"]), dev["score"].to_numpy(dtype=float), np.array(kept), weight)

    def mark(self) -> dict[str, Any]:
        """Everything that decides the numbers, for `provenance.fingerprint`."""
        return {
            "recipe": recipes.PENALTY.version,
            "weight": self.weight,
            "texts": self.texts,
            "scores": self.scores.tolist(),
            "members": self.members.tolist(),
        }


class ConstrainedTrainer(LengthTrainer):
    """`LengthTrainer` with the penalty. Each update also reads half a batch of development essays and takes half as long again.

    The errors of all development essays are a buffer of the model, and so a part of every checkpoint.
    """

    def __init__(
        self, *, constraint: MeanConstraint, ids: Sequence[Sequence[int]], targets: np.ndarray, collate: Callable, **options: Any
    ) -> None:
        """ids (n rows) and targets (n,), in the network's units, of the constraint's essays; `collate` makes a batch."""
        options["model"].register_buffer("errors", torch.full((len(ids),), torch.nan), persistent=True)
        super().__init__(**options)
        self.constraint, self.ids, self.collate = constraint, ids, collate
        self.targets, self.members = torch.tensor(targets, dtype=torch.float32), torch.tensor(constraint.members).float()
        self.dev = trainer.LengthBatches([*map(len, ids)], max(1, self.args.train_batch_size // 2), seed=self.args.seed)

    def compute_loss(self, model, inputs, return_outputs=False, **options):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
        loss = loss + self.constraint.weight * self._penalty(model)
        return (loss, outputs) if return_outputs else loss

    def _penalty(self, model) -> torch.Tensor:
        """Mean over the groups of e_g^2. Its gradient flows through the essays of this update."""
        epoch, place = divmod(self.state.global_step, len(self.dev))
        self.dev.set_epoch(epoch)
        batches, members = list(self.dev), self.members.to(model.errors.device)
        if model.errors.isnan().any():
            with torch.no_grad():
                for batch in batches:
                    model.errors[batch] = self._read(model, batch)
        batch = batches[place]
        error = self._read(model, batch)
        now = error.detach()
        means = members @ model.errors / members.sum(1) + (now - model.errors[batch]).mean()
        model.errors[batch] = now
        here = members[:, batch]
        slope = here @ (error - now) / here.sum(1).clamp(min=1)  # of value 0, but with a gradient; 0 for an absent group
        return (means**2 + 2 * means * slope).mean()

    def _read(self, model, batch: Sequence[int]) -> torch.Tensor:
        """Machine minus human score of a batch of development essays, in the network's units."""
        inputs = {name: value.to(model.errors.device) for name, value in self.collate([self.ids[at] for at in batch]).items()}
        return model(**inputs)["output"][:, 0] - self.targets[batch].to(model.errors.device)
