"""A tokenizer and a model small enough to make and train inside a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

SPECIAL = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]
CHARACTERS = "湖南北江苏广东西的省会是长沙武汉京州市。？甲乙丙丁子丑寅卯辰巳我不知道，请问"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    words = [*SPECIAL, *dict.fromkeys(CHARACTERS)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    )


def tiny_model(seed: int = 1, **changes: object) -> T5ForConditionalGeneration:
    """A T5 of some ten thousand parameters with random weights."""
    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2, "dropout_rate": 0.0}
    config = T5Config(
        vocab_size=len(tiny_tokenizer()),
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        **(sizes | changes),
    )
    model = T5ForConditionalGeneration(config).eval()
    # A fresh T5 repeats its input; stronger layers make answers differ from prompt to prompt.
    for name, weight in model.named_parameters():
        if "shared" not in name and weight.dim() == 2:
            weight.data.mul_(4)
    return model


def save_tiny(folder: Path, **changes: object) -> Path:
    """A model folder."""
    tiny_model(**changes).save_pretrained(folder)  # type: ignore[arg-type]
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Sequence[Mapping[str, str | None]]) -> Path:
    """A Parquet row file."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path
