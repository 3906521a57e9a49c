"""The engine: answers as `generate` gives them, apart from one another, within their limits."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from serve_fixtures import CHARACTERS, ScriptedDecoder, save_model, wait_until
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from smolchat_fast.errors import DataError
from smolchat_fast.serve import torch_network
from smolchat_fast.serve.answer import (
    Answer,
    DeadlineError,
    InternalError,
    Piece,
    QueueFullError,
    QueueTimeoutError,
    ShuttingDownError,
)
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.loading import LoadedModel, load
from smolchat_fast.serve.options import PRESETS, DecodeOptions, Decoding, ServeOptions
from smolchat_fast.serve.reading import pieces
from smolchat_fast.serve.session import Chatbot, Message, build_prompt

UNLIMITED = Limits()


def questions(count: int) -> list[str]:
    draw = random.Random(1)
    return ["".join(draw.choices(CHARACTERS.strip() + "🎉", k=draw.randint(1, 30))) for _ in range(count)]


def generated(folder: Path, texts: list[str], **options: object) -> list[str]:
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answers = []
    for text in texts:
        ids = model.eval().generate(
            **tokenizer(text, return_tensors="pt"), **{"max_new_tokens": 24, **options}
        )
        answers.append(tokenizer.decode(ids[0], skip_special_tokens=True))
    return answers


def submit_all(
    loaded: LoadedModel, texts: list[str], decoding: Decoding, limits: Limits = UNLIMITED
) -> list[str]:
    engine = Engine(loaded.decoder, limits)
    try:
        answers = [engine.submit(loaded.tokens.ended(loaded.tokens.encode(text)), decoding) for text in texts]
        return ["".join(answer) for answer in answers]
    finally:
        engine.close()


WAYS: dict[str, tuple[Decoding, dict[str, object]]] = {
    "greedy": (Decoding(max_new_tokens=24), {}),
    "penalties": (
        Decoding(max_new_tokens=24, repetition_penalty=1.3, no_repeat_ngram_size=2),
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    ),
    "bias and length": (
        Decoding(max_new_tokens=24, min_tokens=4, logit_bias=((1, 4.0), (280, 1.5))),
        {"min_new_tokens": 4, "sequence_bias": [[[1], 4.0], [[280], 1.5]]},
    ),
    "beams": (Decoding(max_new_tokens=24, num_beams=3), {"num_beams": 3}),
    "long beams": (
        Decoding(max_new_tokens=12, num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3),
        {"num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 3, "max_new_tokens": 12},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_equal_generate_while_others_are_served(
    loaded: LoadedModel, model_folder: Path, way: str
) -> None:
    decoding, options = WAYS[way]
    texts = questions(20)
    expected = generated(model_folder, texts, do_sample=False, **options)
    assert len(set(expected)) > 10
    assert submit_all(loaded, texts, decoding, Limits(max_running=5)) == expected


def test_large_matrices_by_onednn_give_the_same_answers(
    loaded: LoadedModel, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_network, "ONEDNN_FROM", 1)
    monkeypatch.setattr(
        torch_network, "ONEDNN_ROWS", 4
    )  # prompts are longer: some rows are added and taken off
    texts = questions(20)
    expected = submit_all(loaded, texts, Decoding(max_new_tokens=24), Limits(max_running=5))
    found = submit_all(load(model_folder), texts, Decoding(max_new_tokens=24), Limits(max_running=5))
    assert found == expected == generated(model_folder, texts, do_sample=False)


def test_greedy_answers_to_500_prompts_equal_generate_alone_and_with_others_joining(
    loaded: LoadedModel, model_folder: Path
) -> None:
    texts = list(dict.fromkeys(questions(520)))[:500]
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(model_folder).eval(), loaded.tokens
    prompts = [tokenizer.ended(tokenizer.encode(text)) for text in texts]
    expected = []
    for first in range(0, len(prompts), 50):
        batch = prompts[first : first + 50]
        width = max(map(len, batch))
        ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in batch])
        found = model.generate(
            input_ids=ids, attention_mask=(ids != 0).long(), max_new_tokens=16, do_sample=False
        )
        for row in found.tolist():
            kept = row[1:]
            expected.append(tokenizer.decode(kept[: kept.index(1)] if 1 in kept else kept))
    decoding = Decoding(max_new_tokens=16)
    # 7 rows: one joins whenever one leaves, so that every step has rows of every age.
    engine = Engine(loaded.decoder, Limits(max_running=7, max_queue=500))
    try:
        joined = ["".join(answer) for answer in [engine.submit(prompt, decoding) for prompt in prompts]]
        alone = ["".join(engine.submit(prompt, decoding)) for prompt in prompts[:100]]
    finally:
        engine.close()
    assert joined == expected
    assert alone == expected[:100]
    assert len(set(expected)) > 400


def test_every_way_of_answering_goes_beside_every_other(loaded: LoadedModel, model_folder: Path) -> None:
    """Twelve at a time of each kind, joining and leaving at different steps."""
    texts = questions(len(WAYS) * 4)
    jobs = [(text, way) for text, way in zip(texts, list(WAYS) * 4, strict=True)]
    expected = [generated(model_folder, [text], do_sample=False, **WAYS[way][1])[0] for text, way in jobs]
    engine = Engine(loaded.decoder, Limits(max_running=12))
    sampled = Decoding(max_new_tokens=30, temperature=1.0, seed=3)
    contrast = Decoding(max_new_tokens=30, top_k=4, penalty_alpha=0.6)
    try:
        answers = []
        for number, (text, way) in enumerate(jobs):
            answers.append(engine.submit(ended(loaded, text), WAYS[way][0], str(number % 3)))
            other = engine.submit(ended(loaded, text), sampled if number % 2 else contrast)
            if number % 5 == 0:
                other.cancel()
        assert ["".join(answer) for answer in answers] == expected
    finally:
        engine.close(drain_s=20)
    assert loaded.decoder._rows == []


def ended(loaded: LoadedModel, text: str) -> list[int]:
    return loaded.tokens.ended(loaded.tokens.encode(text))


def test_contrastive_search_repeats_less_than_greedy(loaded: LoadedModel) -> None:
    texts = questions(12)
    greedy = submit_all(loaded, texts, Decoding(max_new_tokens=40))
    contrast = submit_all(loaded, texts, Decoding(max_new_tokens=40, top_k=4, penalty_alpha=0.6))
    nearly_greedy = submit_all(loaded, texts, Decoding(max_new_tokens=40, top_k=4, penalty_alpha=1e-9))
    assert nearly_greedy == greedy

    def repeats(answers: list[str]) -> int:
        return sum(len(a) - 1 - len({a[i : i + 2] for i in range(len(a) - 1)}) for a in answers if a)

    assert repeats(contrast) < repeats(greedy)


def test_logprobs_are_the_models_own_and_forced_tokens_are_scored(
    loaded: LoadedModel, model_folder: Path
) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(model_folder).eval()
    prompt = ended(loaded, "今天天气")
    engine = Engine(loaded.decoder)
    answer = engine.submit(prompt, Decoding(max_new_tokens=6, logprobs=3, temperature=0.7, seed=1))
    pieces = asyncio.run(collect(answer))
    scored = [token for piece in pieces for token in piece.tokens]
    assert len(scored) == answer.finish.completion_tokens
    ids = tuple(token.id for token in scored)
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *ids[:-1]]])
        ).logits[0]
    expected = logits.log_softmax(-1)
    for place, token in enumerate(scored):
        assert token.logprob == pytest.approx(float(expected[place, token.id]), abs=1e-4)
        assert [i for i, _ in token.top] == expected[place].topk(3).indices.tolist()
    again = engine.submit(prompt, Decoding(max_new_tokens=0, logprobs=1, forced=ids))
    assert "".join(again) == ""
    assert [s.logprob for s in again.prompt_scores] == pytest.approx([s.logprob for s in scored], abs=1e-5)
    engine.close()


async def collect(answer: Answer) -> list[Piece]:
    return [piece async for piece in pieces(answer)]


def test_an_answer_goes_on_from_the_tokens_it_is_made_to_begin_with(loaded: LoadedModel) -> None:
    prompt, engine = ended(loaded, "北京"), Engine(loaded.decoder)
    whole = "".join(engine.submit(prompt, Decoding(max_new_tokens=20)))
    head = tuple(loaded.tokens.encode(whole[:5]))
    for decoding in (Decoding(max_new_tokens=15), Decoding(max_new_tokens=15, top_k=2, penalty_alpha=1e-9)):
        assert "".join(engine.submit(prompt, replace(decoding, forced=head))) == whole[5:]
    engine.close()


def test_a_sampled_answer_depends_on_its_seed_and_not_on_its_neighbours(loaded: LoadedModel) -> None:
    def ask(seed: int, neighbours: int) -> str:
        decoding = Decoding(max_new_tokens=16, temperature=1.0, top_k=20, top_p=0.95, seed=seed)
        return submit_all(loaded, ["你好吗", *questions(neighbours)], decoding)[0]

    assert ask(1, 0) == ask(1, 6)
    assert len({ask(seed, 0) for seed in range(4)}) > 1


def test_the_models_own_generation_config_is_the_default(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sampling"
    save_model(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.9, repetition_penalty=1.2)
    model.generation_config.save_pretrained(folder)
    options = DecodeOptions(top_p=0.5)
    expected = Decoding(max_new_tokens=512, temperature=0.7, top_k=50, top_p=0.5, repetition_penalty=1.2)
    assert options.decoding(load(folder).decoding) == expected
    assert load(model_folder).decoding.temperature == 0
    assert DecodeOptions(preset="sample", max_new_tokens=256).decoding(expected) == PRESETS["sample"]
    assert DecodeOptions(preset="beam").decoding(expected).rows == 4
    assert DecodeOptions(preset="contrastive").decoding(expected).rows == 4


def test_requests_join_and_leave_at_any_step(scripted: ScriptedDecoder) -> None:
    engine = Engine(scripted, Limits(max_running=2))
    texts = ["长" * 40, "短", "中" * 9, "末"]
    answers = [engine.submit([*map(ord, text), 0], Decoding()) for text in texts]
    assert ["".join(answer) for answer in answers] == texts
    assert [answer.finish.completion_tokens for answer in answers] == [40, 1, 9, 1]
    # The short ones passed while the long one ran.
    assert scripted.steps < 50
    engine.close()


def test_a_length_limit_and_a_stop_string_end_an_answer(scripted: ScriptedDecoder) -> None:
    engine = Engine(scripted)
    prompt = [*map(ord, "一二三四五"), 0]
    short = engine.submit(prompt, Decoding(max_new_tokens=2))
    stopped = engine.submit(prompt, Decoding(stop=("三四",)))
    exact = engine.submit(prompt, Decoding(max_new_tokens=6))
    assert ["".join(short), short.finish.reason] == ["一二", "length"]
    assert ["".join(stopped), stopped.finish.reason] == ["一二", "stop"]
    assert ["".join(exact), exact.finish.reason] == ["一二三四五", "stop"]
    engine.close()


def test_a_cancelled_answer_ends_within_a_step_and_touches_no_other(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.01
    engine = Engine(scripted, Limits(max_running=2))
    prompts = [[*map(ord, text * 60), 0] for text in "甲乙丙"]
    first, second, waiting = (engine.submit(prompt, Decoding()) for prompt in prompts)
    next(iter(first))
    before = scripted.steps
    first.cancel()
    wait_until(lambda: first.ended)
    assert scripted.steps - before <= 3
    assert first.finish.reason == "cancelled"
    waiting.cancel()
    assert "".join(second) == "乙" * 60
    assert waiting.ended
    assert "丙" * 60 not in scripted.started or waiting.finish.completion_tokens < 60
    engine.close()


def test_a_full_queue_refuses_and_says_when_to_come_back(scripted: ScriptedDecoder) -> None:
    scripted.gate.clear()
    engine = Engine(scripted, Limits(max_running=1, max_queue=1))
    answers = [engine.submit([97, 0], Decoding()) for _ in range(2)]
    with pytest.raises(QueueFullError) as refused:
        engine.submit([97, 0], Decoding())
    assert 1 <= refused.value.retry_after_s <= 60
    scripted.gate.set()
    assert ["".join(answer) for answer in answers] == ["a", "a"]
    engine.close()


def test_requests_that_wait_or_run_too_long_are_given_up(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.02
    engine = Engine(scripted, Limits(max_running=1, queue_timeout_s=0.1, timeout_s=0.3))
    running, waiting = (engine.submit([97] * 100, Decoding()) for _ in range(2))
    with pytest.raises(QueueTimeoutError, match=r"longer than 0.1 s"):
        list(waiting)
    with pytest.raises(DeadlineError, match=r"longer than 0.3 s"):
        list(running)
    engine.close()


def test_a_failing_step_loses_its_answers_and_not_the_engine(scripted: ScriptedDecoder) -> None:
    engine = Engine(scripted)
    scripted.fail = True
    with pytest.raises(InternalError):
        list(engine.submit([97, 0], Decoding()))
    scripted.fail = False
    assert "".join(engine.submit([97, 0], Decoding())) == "a"
    engine.close()


def test_closing_lets_running_answers_finish_in_their_time(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.01
    engine = Engine(scripted)
    kind = engine.submit([*[97] * 10, 0], Decoding())
    engine.close(drain_s=5)
    assert "".join(kind) == "a" * 10
    with pytest.raises(ShuttingDownError):
        engine.submit([97, 0], Decoding())
    engine = Engine(scripted)
    hard = engine.submit([97] * 500, Decoding())
    threading.Timer(0.1, engine.close).start()
    with pytest.raises(ShuttingDownError):
        list(hard)


def test_unread_text_is_merged_and_never_holds_up_the_engine(scripted: ScriptedDecoder) -> None:
    engine = Engine(scripted)
    unread = engine.submit([*[97] * 200, 0], Decoding())
    wait_until(lambda: unread.ended)
    assert list(unread) == ["a" * 200]
    engine.close()


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", "utf-8")


def other_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "gpt2"}', "utf-8")


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "is no model folder, config.json is missing"),
        (spoil_config, "is not JSON"),
        (other_kind, "model_type is 'gpt2'"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"),
            r"holds no \*.safetensors",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (cut_weights, "the model cannot be loaded"),
        (drop_weight, "1 weights are missing, decoder.final_layer_norm.weight"),
    ],
    ids=[
        "no config",
        "broken config",
        "other model",
        "no safetensors",
        "no tokenizer",
        "cut weights",
        "no weight",
    ],
)
def test_a_folder_that_is_no_model_gives_one_clear_error(tmp_path: Path, spoil: object, message: str) -> None:
    folder = tmp_path / "model"
    save_model(folder)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        load(folder)


def test_a_missing_folder_names_the_unfinished_training_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model.partial" / "checkpoints").mkdir(parents=True)
    with pytest.raises(DataError, match="training is not finished"):
        load(tmp_path / "model")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["更多"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="do not belong together"):
        load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 3.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
        {"max_new_tokens": -1},
        {"min_p": 1.1},
        {"presence_penalty": 3.0},
        {"num_beams": 9},
        {"top_k": 9, "penalty_alpha": 0.5},
        {"stop": ("",)},
    ],
)
def test_options_out_of_range_name_themselves(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"option {next(iter(options))} = "):
        Decoding(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"threads": 0}, {"history_turns": -1}])
def test_bad_options_are_refused_before_a_model_is_loaded(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"option {next(iter(options))} = "):
        ServeOptions(**options)  # type: ignore[arg-type]


def test_a_chat_template_of_the_folder_is_not_run(loaded: LoadedModel, tmp_path: Path) -> None:
    save_model(tmp_path)
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ raise_exception('it ran') }}"
    (tmp_path / "chat_template.jinja").write_text(template, "utf-8")
    marked = load(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == template, "there to be run"
    talk = [Message("user", "你好"), Message("assistant", "很好"), Message("user", "今天天气")]
    options = DecodeOptions(history_turns=2, system="好")
    prompt = build_prompt(talk, marked.tokens, options)
    assert prompt == build_prompt(talk, loaded.tokens, options)
    bot = Chatbot("m", Engine(marked.decoder, Limits()), marked.tokens, options, Decoding(max_new_tokens=4))
    assert "".join(bot.engine.submit(prompt.ids, bot.decoding))
    bot.engine.close()
