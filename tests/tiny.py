"""A tokenizer and a model small enough to make and train inside a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

# Matrices this small are slower on more threads.
torch.set_num_threads(1)

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


def tiny_model(
    seed: int = 1, dropout: float = 0.0, feed_forward: str = "relu", vocab_size: int | None = None
) -> T5ForConditionalGeneration:
    """A T5 of some forty thousand random parameters, whose answers differ from prompt to prompt."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocab_size or len(tiny_tokenizer()),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_heads=4,
        num_layers=2,
        feed_forward_proj=feed_forward,
        dropout_rate=dropout,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config).eval()
    # A fresh T5 repeats its last token; stronger layers make it look at the prompt.
    for name, weight in model.named_parameters():
        if "shared" not in name and weight.dim() == 2:
            weight.data.mul_(4)
    # [EOS], so that some answers end.
    model.shared.weight.data[1].mul_(2)
    return model


def save_tiny(folder: Path, seed: int = 1, dropout: float = 0.0) -> Path:
    """A model folder."""
    tiny_model(seed, dropout).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def some_prompts(count: int, seed: int = 1) -> list[str]:
    """Prompts of 1 to 12 characters."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 13, (count,), generator=generator).tolist()
    picks = [torch.randint(len(CHARACTERS), (length,), generator=generator).tolist() for length in lengths]
    return ["".join(CHARACTERS[i] for i in pick) for pick in picks]


def write_rows(path: Path, rows: Sequence[Mapping[str, str | None]]) -> Path:
    """A Parquet row file."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a Parquet file."""
    return pq.read_table(path).to_pylist()
