"""Presets, saved folders, and the accounting of parameters and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoModelForSeq2SeqLM, T5ForConditionalGeneration  # noqa: E402

from smolchat_fast.model import (  # noqa: E402
    build_model,
    count_parameters,
    load_model,
    save_model,
    set_dropout,
    t5_config,
)
from smolchat_fast.model_options import PRESETS, ModelOptions  # noqa: E402

TINY = ModelOptions(preset="demo", d_model=16, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    special = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]
    built = Tokenizer(
        models.WordLevel({t: i for i, t in enumerate([*special, *"一二三"])}, unk_token="[UNK]")
    )
    built.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    built.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 1)])
    built.save(str(folder / "tokenizer.json"))
    return folder


def on_meta(options: ModelOptions, vocabulary: int) -> T5ForConditionalGeneration:
    with torch.device("meta"):
        model = T5ForConditionalGeneration(t5_config(options, vocabulary))
    model.tie_weights()
    return model


@pytest.mark.parametrize(
    ("preset", "vocabulary", "parameters"),
    [
        ("chatlm-mini", 29_298, 187_692_288),
        ("0.2b", 29_298, 187_692_288),
        ("demo", 2_200, 1_200_896),
    ],
)
def test_presets_have_the_parameters_that_they_promise(preset, vocabulary, parameters):
    assert count_parameters(on_meta(ModelOptions(preset=preset), vocabulary)) == parameters


def test_a_given_value_replaces_the_one_of_the_preset():
    shape = ModelOptions(preset="0.2b", num_layers=4, dropout=0.2).shape()
    assert (shape.num_layers, shape.dropout, shape.d_model) == (4, 0.2, PRESETS["0.2b"].d_model)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"num_heads": 5}, "num_heads"), ({"num_layers": 0}, "num_layers"), ({"dropout": 1.0}, "dropout")],
)
def test_impossible_shapes_are_refused_by_name(options, named):
    with pytest.raises(ValueError, match=f"option {named}"):
        ModelOptions(preset="demo", **options).shape()


def test_weights_are_a_function_of_the_seed(tokenizer):
    one, same, other = (build_model(TINY, tokenizer, seed) for seed in (1, 1, 2))
    assert torch.equal(one.shared.weight, same.shared.weight)
    assert not torch.equal(one.shared.weight, other.shared.weight)


def test_building_a_model_does_not_touch_the_generator_of_the_caller(tokenizer):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build_model(TINY, tokenizer)
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_folder_loads_with_plain_transformers_and_answers_alike(tokenizer, tmp_path):
    model = build_model(TINY, tokenizer).eval()
    save_model(model, tokenizer, tmp_path / "model")
    ids = torch.tensor([[7, 8, 1]])
    for read in (AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model"), load_model(tmp_path / "model")):
        assert torch.equal(
            read(input_ids=ids, decoder_input_ids=ids).logits,
            model(input_ids=ids, decoder_input_ids=ids).logits,
        )
        assert read.generation_config.max_new_tokens == 256
        assert read.generation_config.decoder_start_token_id == 0
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_folders_without_model_or_tokenizer_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model here"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="no tokenizer here"):
        build_model(TINY, tmp_path)


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path):
    Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(ValueError, match=r"\[PAD\] and \[EOS\] are tokens 1 and None"):
        build_model(TINY, tmp_path)


def test_dropout_reaches_every_layer(tokenizer):
    model = build_model(TINY, tokenizer)
    set_dropout(model, 0.5)
    ids = torch.tensor([[7, 8, 1]])
    model.train()
    first, second = (model(input_ids=ids, decoder_input_ids=ids).logits for _ in range(2))
    assert not torch.equal(first, second)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}
