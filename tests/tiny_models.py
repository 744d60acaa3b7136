"""Tiny random models as local folders: real architectures and real file formats, nothing learned, so that tests take seconds.

    python tests/tiny_models.py build/tiny      # makes those that are not there yet; `params/smoke.yaml` names them

Each folder holds config.json, model.safetensors and a tokenizer, like one from the hub. The same call gives the same bytes.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    ElectraConfig,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.utils import logging

from cyborg_utils.data import simulated

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CAUSAL = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True}
ENCODER = {**SMALL, "max_position_embeddings": 128}

CONFIGS = {
    "llama": lambda size: LlamaConfig(vocab_size=size, **CAUSAL),
    "qwen2": lambda size: Qwen2Config(vocab_size=size, **CAUSAL),
    "electra": lambda size: ElectraConfig(vocab_size=size, embedding_size=16, **ENCODER),  # embeddings narrower than layers
    "bert": lambda size: BertConfig(vocab_size=size, **ENCODER),
    "mpnet": lambda size: MPNetConfig(vocab_size=size, pad_token_id=1, **ENCODER | {"max_position_embeddings": 130}),
    "modernbert": lambda size: ModernBertConfig(
        vocab_size=size,
        local_attention=16,
        global_attn_every_n_layers=2,
        **ENCODER | {"max_position_embeddings": 512},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
}
CAUSAL_MODELS, ENCODERS = ("llama", "qwen2"), ("electra", "bert", "mpnet", "modernbert")


def make(root: Path) -> dict[str, Path]:
    """Folders of all tiny models under `root`, by name; what is there already stays."""
    root.mkdir(parents=True, exist_ok=True)
    return {name: _folder(root, name) for name in CONFIGS}


def _folder(root: Path, name: str) -> Path:
    target = root / name
    if not (target / "config.json").is_file():
        making = root / f".{name}.{os.getpid()}"
        tokenizer = tokenizer_for(name)
        tokenizer.save_pretrained(making)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(map(ord, name)))
            config = CONFIGS[name](len(tokenizer))
            model = AutoModelForCausalLM.from_config(config) if name in CAUSAL_MODELS else AutoModel.from_config(config)
            for parameter in model.parameters():  # the usual 0.02 is so small that the output hardly depends on the text
                if parameter.dim() == 2:
                    torch.nn.init.normal_(parameter, std=0.3 if parameter.shape[0] == len(tokenizer) else 0.15)
        model.save_pretrained(making)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(making, target)
    return target


def tokenizer_for(name: str) -> PreTrainedTokenizerFast:
    """Causal models and ModernBERT: byte pairs over all 256 bytes, so that any text encodes; the others: word pieces."""
    if name in CAUSAL_MODELS:
        tokenizer = _byte_pairs(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        tokenizer.add_tokens(["<tool_call>"])  # added, yet not special, as in Qwen2.5
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            chat_template=CHAT,
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
        )
    if name == "mpnet":
        start, end, special = "<s>", "</s>", ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    else:
        start, end, special = "[CLS]", "[SEP]", ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    tokenizer = _byte_pairs(special) if name == "modernbert" else _word_pieces(special)
    ends = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    pad, mask = ("<pad>", "<mask>") if name == "mpnet" else ("[PAD]", "[MASK]")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=start, sep_token=end, pad_token=pad, mask_token=mask, unk_token="[UNK]"
    )


def _byte_pairs(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _word_pieces(special: list[str]) -> Tokenizer:
    """Signs, their continuations, and the frequent words; made by hand, since the library's trainer breaks ties by chance."""
    signs = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    counts = Counter(re.findall("[a-z]+", " ".join(_texts()).lower()))
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if len(word) > 1][:500]
    vocabulary = [*special, *signs, *(f"##{sign}" for sign in signs), *words]
    tokenizer = Tokenizer(models.WordPiece({token: place for place, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


@functools.cache
def _texts() -> list[str]:
    return [essay["text"] for essay in simulated.essays(60, 1)]


if __name__ == "__main__":
    logging.disable_progress_bar()
    for folder in make(Path(sys.argv[1])).values():
        print(folder)
