"""A Teacher that scores through vLLM (`label_essays.engine: vllm`), for large corpora on a GPU. Optional, and not run here.

It reads the same prompts and gives the same probabilities as `teacher.Teacher`, whose place it takes in `teacher.score`. vLLM
packs essays of all lengths and keeps the prompts' common beginning by itself. Its logits are bf16 (steps of 0.125 at their usual
size, 13 % of a probability), where `Teacher.logits` computes the answers' in float32: expected scores differ in the second place.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import teacher, trainer, weights
from cyborg_utils.models.prompt import Prompt

PACK = 262_144  # tokens that are handed to vLLM at once; it makes its own batches of them
MEMORY = 0.85  # share of the GPU's memory that vLLM takes


class VllmScorer:
    """The interface of `teacher.Teacher` that scoring uses: `encode`, `prompt`, `probabilities`."""

    def __init__(
        self, engine: Any, ask: Any, tokenizer: Any, template: Prompt, *, max_tokens: int, bias: np.ndarray | None
    ) -> None:
        """`ask(prompts)` gives vLLM's outputs for token ids; `engine` is kept alive with it."""
        self.engine, self.ask, self.tokenizer, self.prompt, self.max_tokens = engine, ask, tokenizer, template, max_tokens
        self.answer_ids, self.bias = template.answer_ids(tokenizer), bias

    def encode(self, essays: Sequence[str], assignments: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Prompts as token ids, and the number of tokens cut from each essay."""
        return self.prompt.encode(self.tokenizer, list(essays), list(assignments), max_tokens=self.max_tokens)

    def probabilities(
        self, prompts: Sequence[list[int]], *, folder: Path | None = None, mark: str = "", show: str = ""
    ) -> np.ndarray:
        """Probabilities of the K levels for every prompt, (n, K); rows sum to 1. For folder and mark see `Teacher.probabilities`.

        Raises CyborgError where vLLM leaves out an answer: its `logprobs_mode` was not that of `load`.
        """

        def work(batch: np.ndarray) -> np.ndarray:
            return np.stack([self._levels(output) for output in self.ask([prompts[at] for at in batch])])

        batches = trainer.token_batches([*map(len, prompts)], PACK)
        return trainer.in_parts(work, batches, folder, f"{mark} vllm", every=1, show=show)

    def _levels(self, output: Any) -> np.ndarray:
        given = {token: entry.logprob for token, entry in output.outputs[0].logprobs[0].items()}
        if absent := [token for token in self.answer_ids if token not in given]:
            raise CyborgError(
                f"vLLM gave no probability for {len(absent)} of {len(self.answer_ids)} answers; set `engine: transformers`."
            )
        logits = log_softmax(np.array([given[token] for token in self.answer_ids]))
        return softmax(logits if self.bias is None else logits + self.bias).astype(np.float32)


def load(settings: teacher.Settings, template: Prompt, *, adapter: Path) -> VllmScorer:
    """A fine-tuned Teacher in vLLM, its adapter beside the weights.

    Raises CyborgError where vLLM is not installed, and for what it cannot do here: several traits at once, and nf4.
    """
    if not importlib.util.find_spec("vllm"):
        raise CyborgError("label_essays.engine: vllm is not installed (pip install vllm); or set `engine: transformers`.")
    if template.traits or settings.quantization != "none":
        what = "several traits are read at several places" if template.traits else f"quantization {settings.quantization}"
        raise CyborgError(f"label_essays.engine: vllm cannot score this Teacher ({what}); set `engine: transformers`.")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    weights.check(adapter, "Remove this folder and fine-tune the Teacher again (notebook 02).")
    tokenizer = teacher.tokenizer_of(settings)
    answers = template.answer_ids(tokenizer)
    engine = LLM(
        model=str(weights.resolve(settings.model)),
        dtype="bfloat16",
        enable_lora=True,
        max_lora_rank=max(8, settings.lora_rank),
        enable_prefix_caching=True,
        gpu_memory_utilization=MEMORY,
        max_logprobs=len(answers),
        logprobs_mode="processed_logprobs",  # after all tokens but the answers were ruled out
        trust_remote_code=False,
    )
    one = SamplingParams(max_tokens=1, temperature=0.0, allowed_token_ids=answers, logprobs=len(answers), detokenize=False)
    own = LoRARequest("teacher", 1, str(weights.plain(adapter, "adapter_model")))

    def ask(prompts: Sequence[list[int]]) -> list[Any]:
        return engine.generate([{"prompt_token_ids": ids} for ids in prompts], one, lora_request=own, use_tqdm=False)

    return VllmScorer(engine, ask, tokenizer, template, max_tokens=settings.max_tokens, bias=teacher.bias_of(adapter))
