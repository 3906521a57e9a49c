"""Plain completions, log-probabilities, several answers, Ollama's shape, metrics: on the parrot and a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from serve_fixtures import CharacterTokens, ScriptedDecoder, serving
from transformers import AutoModelForSeq2SeqLM

from smolchat_fast.serve.api import build_app
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.loading import LoadedModel
from smolchat_fast.serve.metrics import Metrics
from smolchat_fast.serve.options import DecodeOptions, Decoding
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture
def client(build_bot: BuildBot) -> Iterator[httpx.Client]:
    with serving(build_bot()) as client:
        yield client


@pytest.fixture
def real(loaded: LoadedModel) -> Iterator[httpx.Client]:
    """A server with the tiny model."""
    metrics = Metrics("tiny")
    options = DecodeOptions(max_new_tokens=24)
    bot = Chatbot(
        "tiny",
        Engine(loaded.decoder, Limits(), metrics),
        loaded.tokens,
        options,
        options.decoding(loaded.decoding),
        precision=loaded.precision,
        fingerprint=loaded.fingerprint,
    )
    with serving(bot, metrics=metrics) as client:
        yield client


def chat(text: str, **fields: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def chunks(response: httpx.Response) -> list[Any]:
    blocks = [block for block in response.text.split("\n\n") if block.startswith("data: {")]
    return [json.loads(block[6:]) for block in blocks]


def test_a_completion_has_the_shape_of_openai(client: httpx.Client) -> None:
    answer = client.post(TEXT, json={"prompt": "你好吗"}).json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [{"index": 0, "text": "你好吗", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    stream = chunks(client.post(TEXT, json={"prompt": "你好吗", "stream": True}))
    assert {chunk["object"] for chunk in stream} == {"text_completion"}
    assert "".join(chunk["choices"][0]["text"] for chunk in stream) == "你好吗"
    assert stream[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("prompt", "texts", "tokens"),
    [
        (["一二", "三"], ["一二", "三"], 5),
        ([ord("一"), ord("二")], ["一二"], 3),
        ([[ord("一"), 0], [ord("二")]], ["一", "二"], 4),
    ],
)
def test_prompts_may_be_texts_or_ids_and_many(
    client: httpx.Client, prompt: object, texts: list[str], tokens: int
) -> None:
    for fields in ({}, {"n": 2}):
        answer = client.post(TEXT, json={"prompt": prompt, **fields}).json()
        expected = [text for text in texts for _ in range(fields.get("n", 1))]
        assert [choice["text"] for choice in answer["choices"]] == expected
        assert [choice["index"] for choice in answer["choices"]] == list(range(len(expected)))
        assert answer["usage"]["prompt_tokens"] == tokens


FAULTS: list[tuple[dict[str, object], str, str]] = [
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": []}, "invalid_value", "prompt"),
    ({"prompt": ["a", ""]}, "invalid_value", "prompt"),
    ({"prompt": [0x110000]}, "invalid_value", "prompt"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"echo": True, "logprobs": 1}, "unsupported_parameter", "echo"),
    ({"suffix": "x"}, "unsupported_parameter", "suffix"),
    ({"logprobs": 21}, "invalid_value", "logprobs"),
    ({"prompt": "长" * 600}, "context_length_exceeded", "messages"),
]


def test_faults_of_completions_are_told(client: httpx.Client) -> None:
    for fields, code, param in FAULTS:
        response = client.post(TEXT, json={"prompt": "a", **fields})
        assert response.status_code == 400, fields
        assert response.json()["error"]["code"] == code, fields
        assert response.json()["error"]["param"].startswith(param), fields
    cut = client.post(TEXT, json={"prompt": "长" * 600, "truncate": "left", "max_tokens": 1})
    assert cut.json()["usage"]["prompt_tokens"] == 512


def test_several_answers_come_whole_and_streamed_with_their_indexes(real: httpx.Client) -> None:
    fields = {"n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 12}
    whole = real.post(CHAT, json=chat("你好吗", **fields)).json()
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) == 3
    assert whole["usage"]["completion_tokens"] > 12
    streamed = ["", "", ""]
    for chunk in chunks(real.post(CHAT, json=chat("你好吗", stream=True, **fields))):
        choice = chunk["choices"][0]
        streamed[choice["index"]] += choice["delta"].get("content", "")
    assert streamed == texts
    again = real.post(CHAT, json=chat("你好吗", **{**fields, "n": 1})).json()
    assert again["choices"][0]["message"]["content"] == texts[0]


def test_logprobs_join_to_the_text_and_hold_the_chosen_token(real: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "logprobs": True,
        "top_logprobs": 3,
        "max_tokens": 10,
        "temperature": 1.2,
        "seed": 4,
    }
    fields["ignore_eos"] = True
    whole = real.post(CHAT, json=chat("今天", **fields)).json()
    content = whole["choices"][0]["logprobs"]["content"]
    text = whole["choices"][0]["message"]["content"]
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == text
    assert len(content) == whole["usage"]["completion_tokens"]
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in content)
    streamed: list[Any] = []
    for chunk in chunks(real.post(CHAT, json=chat("今天", stream=True, **fields))):
        if logprobs := chunk["choices"][0]["logprobs"]:
            streamed += logprobs["content"]
    assert streamed == content
    # What a stop string cuts off drops out of text, count and log-probabilities alike.
    stop = text[2:4]
    cut = real.post(CHAT, json=chat("今天", **fields, stop=stop)).json()
    assert cut["choices"][0]["message"]["content"] == text[: text.find(stop)]
    assert len(cut["choices"][0]["logprobs"]["content"]) == cut["usage"]["completion_tokens"]


def test_echo_scores_an_answer_as_evaluation_harnesses_ask(
    real: httpx.Client, loaded: LoadedModel, model_folder: Path
) -> None:
    context = loaded.tokens.ended(loaded.tokens.encode("今天天气"))
    answer = loaded.tokens.encode("不错")
    fields = {"prompt": [[*context, *answer]], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    found = real.post(TEXT, json=fields).json()["choices"][0]["logprobs"]
    assert {len(values) for values in found.values()} == {len(context) + len(answer) + 1}
    scores = found["token_logprobs"][len(context) : -1]
    tops = found["top_logprobs"][len(context) : -1]
    model = AutoModelForSeq2SeqLM.from_pretrained(model_folder).eval()
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([context]), decoder_input_ids=torch.tensor([[0, *answer[:-1]]])
        ).logits[0]
    exact = logits.log_softmax(-1)
    assert scores == pytest.approx([float(exact[i, token]) for i, token in enumerate(answer)], abs=1e-3)
    for place, (top, token) in enumerate(zip(tops, answer, strict=True)):
        assert (max(top.values()) == scores[place]) == (int(exact[place].argmax()) == token)
    assert found["token_logprobs"][: len(context) - 1] == [None] * (len(context) - 1)
    assert found["token_logprobs"][len(context) - 1] == 0
    # The same by text.
    text = {**fields, "prompt": "今天天气", "decoder_prompt": "不错"}
    assert real.post(TEXT, json=text).json()["choices"][0]["logprobs"]["token_logprobs"][
        len(context) : -1
    ] == pytest.approx(scores)
    only = real.post(TEXT, json={**text, "max_tokens": 0}).json()["choices"][0]
    assert only["logprobs"]["token_logprobs"][len(context) :] == pytest.approx(scores)
    assert only["text"] == "今天天气不错"


def test_an_assistants_last_message_is_gone_on_with(real: httpx.Client) -> None:
    whole = real.post(CHAT, json=chat("你好", max_tokens=12)).json()["choices"][0]["message"]["content"]
    messages = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": whole[:4]}]
    rest = real.post(CHAT, json={"messages": messages, "max_tokens": 8}).json()
    assert rest["choices"][0]["message"]["content"] == whole[4:]


def test_presets_go_by_name_and_beams_come_in_one_piece(real: httpx.Client) -> None:
    for preset in ("greedy", "beam", "sample", "contrastive"):
        response = real.post(CHAT, json=chat("北京", preset=preset, max_tokens=8, seed=1))
        assert response.status_code == 200, response.text
        stream = chunks(real.post(CHAT, json=chat("北京", preset=preset, max_tokens=8, seed=1, stream=True)))
        texts = [c["choices"][0]["delta"]["content"] for c in stream[1:-1]]
        assert "".join(texts) == response.json()["choices"][0]["message"]["content"]
        assert preset != "beam" or len(texts) == 1


def test_ignore_eos_and_min_tokens_give_full_length(real: httpx.Client) -> None:
    answer = real.post(CHAT, json=chat("你", ignore_eos=True, min_tokens=24, max_tokens=24)).json()
    assert answer["usage"]["completion_tokens"] == 24
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["usage"]["prompt_tokens"] == 2
    capped = real.post(CHAT, json=chat("你", ignore_eos=True, max_tokens=9999)).json()
    assert capped["usage"]["completion_tokens"] == 24


def test_a_bias_and_ignored_fields(client: httpx.Client, real: httpx.Client) -> None:
    banned = real.post(CHAT, json=chat("你好", max_tokens=8, logit_bias={"280": -100, "1": -100}))
    assert banned.status_code == 200
    assert real.get("/v1/models").json()["data"][0]["engine"] == "float32 by torch on cpu"
    assert client.post(TEXT, json={"prompt": "a", "user": "x"}).headers["x-ignored-params"] == "user"


def test_unknown_fields_are_refused_where_that_is_asked_for(build_bot: BuildBot) -> None:
    with serving(build_bot(), strict=True) as client:
        assert client.post(CHAT, json=chat("a", user="x", metadata={})).status_code == 200
        response = client.post(CHAT, json=chat("a", temprature=1))
        assert (response.status_code, response.json()["error"]["param"]) == (400, "temprature")


def test_ollama_is_spoken_where_there_are_messages(client: httpx.Client) -> None:
    body = {"model": "parrot:latest", **chat("你好吗"), "options": {"num_predict": 2, "temperature": 0}}
    response = client.post("/api/chat", json=body)
    assert response.headers["content-type"].startswith("application/x-ndjson")
    *parts, last = map(json.loads, response.text.splitlines())
    assert "".join(part["message"]["content"] for part in parts) == "你好"
    assert not any(part["done"] for part in parts)
    assert (last["done"], last["done_reason"], last["eval_count"], last["prompt_eval_count"]) == (
        True,
        "length",
        2,
        4,
    )
    assert last["total_duration"] >= last["eval_duration"] >= 0
    whole = client.post("/api/chat", json={**body, "stream": False, "options": None}).json()
    assert (whole["message"]["content"], whole["done_reason"]) == ("你好吗", "stop")
    load = client.post("/api/chat", json={"model": "parrot", "messages": []})
    assert json.loads(load.text)["done_reason"] == "load"
    for fields, status in (({"model": "other"}, 404), ({"images": ["x"]}, 400), ({"format": "json"}, 400)):
        response = client.post("/api/chat", json={**body, **fields})
        assert (response.status_code, isinstance(response.json()["error"], str)) == (status, True)
    assert client.post("/api/chat", json={**body, "input_txt": "a"}).status_code == 400
    assert client.get("/api/tags").json()["models"][0]["name"] == "parrot:latest"
    assert client.get("/api/version").json()["version"]


def test_every_refusal_is_a_bare_text_for_ollamas_clients(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    with serving(build_bot()) as client:
        for body, said in (
            ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role: "),
            ({"messages": [{"role": "user"}]}, "messages[0].content: "),
            (chat("a", options={"seed": "1"}), "options.seed: "),
            (chat("a", options={"top_k": -1}), "option top_k = -1: "),
            (chat("a" * 600), "the question has 601 tokens"),
        ):
            response = client.post("/api/chat", json=body)
            assert response.status_code == 400
            assert set(response.json()) == {"error"}
            assert response.json()["error"].startswith(said)
    scripted.gate.clear()
    with serving(build_bot(Limits(max_running=1, max_queue=0))) as client:
        with client.stream("POST", "/api/chat", json=chat("a")):
            full = client.post("/api/chat", json=chat("b"))
        scripted.gate.set()
    assert (full.status_code, list(full.json())) == (429, ["error"])
    assert "Try again" in full.json()["error"]
    assert int(full.headers["retry-after"]) >= 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_wait_that_is_too_long_has_its_status_for_ollamas_clients(
    build_bot: BuildBot, scripted: ScriptedDecoder, stream: bool
) -> None:
    scripted.gate.clear()
    with serving(build_bot(Limits(max_running=1, queue_timeout_s=0.2))) as client:
        with client.stream("POST", "/api/chat", json=chat("a")):
            response = client.post("/api/chat", json=chat("b", stream=stream))
        scripted.gate.set()
    assert (response.status_code, list(response.json())) == (503, ["error"])
    assert response.headers["retry-after"] == "5"


def test_images_of_ollamas_messages_are_refused(client: httpx.Client) -> None:
    seen, blind = ({"role": "user", "content": "a", "images": images} for images in (["aGk="], []))
    response = client.post("/api/chat", json={"messages": [blind, seen]})
    assert (response.status_code, response.json()["error"]) == (
        400,
        "messages[1].images: is not supported by this server",
    )
    assert client.post("/api/chat", json={"messages": [blind]}).status_code == 200


def test_messages_that_ollamas_clients_send_in_vain_are_counted(client: httpx.Client) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        *chat("c")["messages"],
    ]
    for stream in (False, True):
        response = client.post("/api/chat", json={"messages": messages, "stream": stream})
        assert response.headers["x-truncated-turns"] == "2"


def test_tokens_are_told(real: httpx.Client, loaded: LoadedModel) -> None:
    found = real.post("/tokenize", json={"prompt": "你好[EOS]🎉"}).json()
    assert found["count"] == len(found["tokens"])
    assert found["tokens"][-1] == 1
    assert found["tokens"].count(1) == 1
    assert real.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "你好[EOS]🎉"}
    assert real.get("/tokenizer_info").json()["eos_token"] == "[EOS]"
    assert real.post("/detokenize", json={"tokens": [10**6]}).status_code == 400


def test_metrics_count_what_happened(real: httpx.Client) -> None:
    real.post(CHAT, json=chat("你好", max_tokens=5, ignore_eos=True))
    text = real.get("/metrics").text
    values = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    assert values['smolchat_generation_tokens_total{model="tiny"}'] == 5
    assert values['smolchat_prompt_tokens_total{model="tiny"}'] == 3
    assert values['smolchat_request_success_total{finished_reason="length",model="tiny"}'] == 1
    assert values['smolchat_num_requests_running{model="tiny"}'] == 0
    assert values['smolchat_time_to_first_token_seconds_count{model="tiny"}'] == 1
    assert values['smolchat_inter_token_latency_seconds_count{model="tiny"}'] == 4
    assert "你好" not in text
    assert not any(math.isnan(value) for value in values.values())


def test_pages_of_allowed_origins_and_names_may_ask(build_bot: BuildBot) -> None:
    page = "https://chat.example"
    with serving(build_bot(), origins=[page], hosts=["proxy.example"]) as client:
        preflight = client.options(CHAT, headers={"origin": page, "access-control-request-method": "POST"})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == page
        answer = client.post(CHAT, json=chat("a"), headers={"origin": page})
        assert answer.headers["access-control-allow-origin"] == page
        assert client.post(CHAT, json=chat("a"), headers={"origin": "https://x.example"}).status_code == 403
        form = client.post(CHAT, content=b"{}", headers={"origin": page, "content-type": "text/plain"})
        assert form.status_code == 415
        assert client.get("/v1/models", headers={"host": "proxy.example"}).status_code == 200
        assert client.get("/v1/models", headers={"host": "other.example"}).status_code == 403


def test_an_answer_that_does_not_fit_the_cache_is_refused(scripted: ScriptedDecoder) -> None:
    bot = Chatbot(
        "parrot", Engine(scripted, Limits(cache_mb=0.01)), CharacterTokens(), DecodeOptions(), Decoding()
    )
    with serving(bot) as client:
        response = client.post(CHAT, json=chat("长" * 50))
        assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert client.post(CHAT, json=chat("短")).status_code == 200


def test_one_client_with_many_requests_does_not_hold_up_another(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    scripted.gate.clear()
    bot = build_bot(Limits(max_running=1))
    many = [bot.engine.submit([*map(ord, f"多{i}"), 0], Decoding(), "greedy") for i in range(6)]
    other = bot.engine.submit([*map(ord, "另一位"), 0], Decoding(), "modest")
    scripted.gate.set()
    assert ["".join(answer) for answer in (*many, other)] == [f"多{i}" for i in range(6)] + ["另一位"]
    assert scripted.started.index("另一位") <= 2


def test_the_app_can_be_built_without_metrics(build_bot: BuildBot) -> None:
    assert build_app(build_bot()) is not None
