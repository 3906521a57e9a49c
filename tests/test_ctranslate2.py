"""A model folder converted to CTranslate2 answers as `generate` of transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed: pip install -e '.[peers]'")

import ctranslate2
import torch
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer, save
from tiny import some_prompts, tiny_model, tiny_tokenizer

TOKENS, END = 20, 1


@pytest.fixture(params=["characters", "byte pairs"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerBase:
    """One token a character, or what `build_tokenizer` makes: byte tokens too."""
    if request.param == "characters":
        return tiny_tokenizer()
    save(
        build_tokenizer([*some_prompts(20), "今天天气"], TokenizerOptions(vocab_size=300)),
        tmp_path / "tokenizer",
    )
    return AutoTokenizer.from_pretrained(tmp_path / "tokenizer")


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_greedy_answers_equal_those_of_generate(
    tmp_path: Path, feed_forward: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = tiny_model(feed_forward=feed_forward, vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "converted"))
    questions = [tokenizer(prompt).input_ids for prompt in some_prompts(20)]
    expected = []
    for ids in questions:
        (row,) = model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False
        ).tolist()
        expected.append(row[1:-1] if row[-1] == END else row[1:])
    assert len(set(map(tuple, expected))) > 10, "answers that differ show more"
    assert any(len(answer) < TOKENS for answer in expected), "some answers must end"
    translator = ctranslate2.Translator(str(tmp_path / "converted"), compute_type="float32", intra_threads=1)
    found = translator.translate_batch(
        [tokenizer.convert_ids_to_tokens(ids) for ids in questions],
        beam_size=1,
        max_decoding_length=TOKENS,
        min_decoding_length=0,  # by itself 1: an answer that ends at once would become another
    )
    assert [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in found] == expected
