"""The Teacher: a causal language model that answers with one token, fine-tuned with LoRA on U, then read like a rater.

Each level has a single-token answer (see `prompt`), so that training is cross-entropy on that one answer and scoring is one
forward pass: the probabilities of the K answers are the Teacher's distribution over levels. Nothing is generated or parsed.

Two things make it fast without changing a result. The first part of the prompt is the same for every essay, so its keys and
values are computed once a batch (with gradients in training). Of the output layer, only the K answer rows are computed, at the
last position.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import warnings
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from cyborg_utils.core import config, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import FinetuneTeacher
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cpu_attention, lower_layers, memory, trainer, weights
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.stats import metrics

# peft uses a name that transformers will change; the reader of a notebook cannot act on this warning
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

FAILED = 0.2  # QWK on dev up to which a fine-tuning has failed: "slight" agreement (Landis & Koch 1977)


# How a Teacher is fine-tuned: the keys of a study's `finetune_teacher` section, but for how many attempts there are
Settings = config.settings(FinetuneTeacher, [name for name in FinetuneTeacher.model_fields if name != "attempts"])


class Teacher:
    """A causal language model, its tokenizer, and the prompt that it answers."""

    def __init__(self, model, tokenizer, template: Prompt, *, max_tokens: int) -> None:
        self.model, self.tokenizer, self.prompt, self.max_tokens = model, tokenizer, template, max_tokens
        self.answer_ids = torch.tensor(template.answer_ids(tokenizer), device=model.device)
        self.reads = torch.tensor(template.reads(tokenizer), device=model.device)
        self.bias: np.ndarray | None = None  # added to the answer logits, (K,) or (traits, K); see `offset_to_mean`
        self.lower: lower_layers.LowerStates | None = None  # the decoder begins with these instead of token ids
        self.half = False  # in autocast: LoRA's weights are float32, its products bf16

    def encode(self, essays: Sequence[str], assignments: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Prompts as token ids, and the number of tokens cut from each essay."""
        return self.prompt.encode(self.tokenizer, list(essays), list(assignments), max_tokens=self.max_tokens)

    def logits(self, prompts: Sequence[list[int]], *, share_prefix: bool = True) -> torch.Tensor:
        """Answer logits, shape (prompts, K), float32; (prompts, traits, K) where the prompt asks for traits.

        Prompts are padded on the right. In a causal model a token cannot see what follows it, so no mask is needed.
        """
        decoder, head, device = self.decoder, self.base.get_output_embeddings(), self.model.device
        shared = len(commonprefix(list(prompts))) if share_prefix and len(prompts) > 1 else 0
        shared = min(shared, min(map(len, prompts)) - 1 - int(self.reads.max()))
        tails = [ids[shared:] for ids in prompts]
        hidden = self.hidden(decoder, prompts, shared)
        last = torch.tensor([len(ids) - 1 for ids in tails], device=device)
        hidden = hidden[torch.arange(len(prompts), device=device)[:, None], last[:, None] - self.reads].float()
        hidden = hidden if self.prompt.traits else hidden[:, 0]
        # float32, because bf16 has steps of 0.125 at the usual size of logits: 13 % of a probability.
        bias = None if head.bias is None else head.bias[self.answer_ids].float()
        logits = functional.linear(hidden, head.weight[self.answer_ids].float(), bias)
        return logits if self.bias is None else logits + torch.as_tensor(self.bias, dtype=logits.dtype, device=device)

    @property
    def base(self):
        """The causal language model itself, without the adapter around it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def decoder(self):
        """Its layers, without the output layer."""
        return self.base.get_decoder()

    def hidden(self, decoder, prompts: Sequence[list[int]], shared: int) -> torch.Tensor:
        """Last hidden states of prompts after the `shared` tokens with which all begin, (prompts, longest rest, width)."""
        with dtype.autocast(self.model.device) if self.half else contextlib.nullcontext():
            if not shared:
                return decoder(**self._given(prompts, 0), use_cache=False).last_hidden_state
            cache = decoder(**self._given(prompts[:1], 0, shared), use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(prompts))
            return decoder(**self._given(prompts, shared), past_key_values=cache, use_cache=True).last_hidden_state

    def _given(self, prompts: Sequence[list[int]], start: int, end: int | None = None) -> dict[str, torch.Tensor]:
        """The decoder's input for tokens `start` to `end`: their ids, or what its lower layers make of them."""
        if self.lower is not None:
            return {"inputs_embeds": self.lower.rows(prompts, start, end)}
        return {"input_ids": trainer.pad([ids[start:end] for ids in prompts], 0).to(self.model.device)}

    @torch.no_grad()
    def probabilities(
        self, prompts: Sequence[list[int]], *, folder: Path | None = None, mark: str = "", show: str = ""
    ) -> np.ndarray:
        """Probabilities of the K levels for every prompt, in the shape of `logits`; rows sum to 1.

        With a `folder`, finished parts are kept there under `mark`, so that an interrupted call can resume.
        """
        self.model.eval()
        budget = memory.token_budget(self.base.config, self.model.device, cpu=8192)

        def work(batch: np.ndarray) -> np.ndarray:
            return self.logits([prompts[index] for index in batch]).softmax(-1).cpu().numpy()

        return trainer.in_parts(work, trainer.token_batches([*map(len, prompts)], budget), folder, mark, show=show)


def load(settings: Settings, template: Prompt, *, adapter: Path | None = None) -> Teacher:
    """The base model (in `dtype.dtype()`, or 4-bit on request) with its tokenizer, and with the adapter of an `adapter` folder.

    The adapter's float32 product is added to the base weights as they are loaded, so that a sum is rounded once where these are
    bf16: bit for bit what merging in float32 gives for a model published in bf16, at half the memory. A 4-bit base keeps its
    adapter separate.
    """
    cuda = torch.cuda.is_available()
    if settings.quantization == "nf4" and not (cuda and importlib.util.find_spec("bitsandbytes")):
        lacks = "bitsandbytes, which is not installed (pip install bitsandbytes)" if cuda else "a CUDA GPU and bitsandbytes"
        raise CyborgError(f"finetune_teacher.quantization: nf4 needs {lacks}; or set `quantization: none`")
    folder, tokenizer = weights.resolve(settings.model), tokenizer_of(settings)
    options: dict[str, Any] = {
        "dtype": dtype.dtype(),
        "device_map": {"": 0} if cuda else None,
        "attn_implementation": cpu_attention.name(flash=True),
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if settings.quantization == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype.dtype()
        )
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    if adapter is not None:
        weights.check(adapter, "Remove this folder and fine-tune the Teacher again (notebook 02).")
        model = PeftModel.from_pretrained(model, weights.plain(adapter, "adapter_model"))
        model = model.merge_and_unload() if settings.quantization == "none" else model
    teacher = Teacher(model, tokenizer, template, max_tokens=settings.max_tokens)
    if adapter is not None:
        teacher.bias = bias_of(adapter)
    return teacher


def tokenizer_of(settings: Settings):
    """The tokenizer alone: prompts can be counted and shown without loading the model."""
    folder = weights.resolve(settings.model)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # unset, it would offer to run a model's own code


def targets(levels: np.ndarray, size: int, sd: float) -> np.ndarray:
    """Target distributions over levels, shape (*levels.shape, K): one-hot for `sd` 0, else a normalised Gaussian.

    `sd` is the Gaussian's SD in levels. Raters are often one level apart, and a smoothed target tells the Teacher that the
    neighbouring levels are nearly right.
    """
    distance = np.arange(size) - np.asarray(levels)[..., None]
    weight = (distance == 0).astype(float) if sd == 0 else np.exp(-0.5 * (distance / sd) ** 2)
    return weight / weight.sum(axis=-1, keepdims=True)


def measures(probabilities: np.ndarray, levels: np.ndarray, scale: Scale) -> dict[str, float]:
    """Agreement of distributions over levels with human levels: QWK and SMD of the most likely level, r of the expected score.

    For traits, shapes (n, traits, K) and (n, traits), each measure is the mean over the traits for which it is defined.
    """
    if levels.ndim == 2:
        each = [measures(probabilities[:, at], levels[:, at], scale) for at in range(levels.shape[1])]
        return pd.DataFrame(each).mean().to_dict()
    expected = probabilities @ scale.scores
    human = scale.score(levels)
    return {
        "qwk": metrics.qwk(levels, probabilities.argmax(1), levels=scale.size),
        "r": metrics.pearson_r(human, expected),
        "smd": metrics.smd(human, scale.score(probabilities.argmax(1))),
        "loss": float(-np.log(np.clip(probabilities[np.arange(len(levels)), levels], 1e-12, None)).mean()),
    }


def bias_of(adapter: Path) -> np.ndarray | None:
    """What a fine-tuned Teacher adds to its answer logits; None where nothing."""
    file = adapter / "teacher.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("bias") if file.is_file() else None
    return None if found is None else np.array(found)


def score(teacher: Teacher, essays: pd.DataFrame, *, folder: Path | None = None, mark: str = "") -> pd.DataFrame:
    """The Teacher's scores of essays (columns essay_id, text, assignment).

    Returns essay_id, level (most likely), expected (probability-weighted score, in score units), p_1 .. p_K. For traits there is
    one row an essay and trait, with a column trait.
    With a `folder`, finished parts are kept there and reused for the same essays and the same `mark` (of the Teacher).
    """
    prompts, _ = teacher.encode(essays["text"], essays["assignment"])
    of_these = provenance.fingerprint({"teacher": mark}, data=[[*essays["essay_id"]], prompts])
    p = teacher.probabilities(prompts, folder=folder, mark=of_these, show="Teacher scores")
    scale, traits = teacher.prompt.scale, teacher.prompt.traits
    frame = pd.DataFrame({"essay_id": essays["essay_id"].to_numpy().repeat(len(traits) or 1)})
    if traits:
        frame["trait"] = traits * len(essays)
    p = p.reshape(len(frame), scale.size)
    frame = frame.assign(level=p.argmax(1), expected=p @ scale.scores)
    return pd.concat([frame, pd.DataFrame(p, columns=[f"p_{level + 1}" for level in range(scale.size)])], axis=1)


def saved(folder: Path) -> tuple[Settings, str, str]:
    """Settings, rubric and mark of a fine-tuned Teacher, from its `adapter` folder."""
    content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    return Settings(**content["settings"]), content["rubric"], content["mark"]
