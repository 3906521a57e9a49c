"""The clients that people use, against a running server with a small model; each is skipped where it is not installed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serve_fixtures import serving

from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.loading import LoadedModel
from smolchat_fast.serve.metrics import Metrics
from smolchat_fast.serve.options import DecodeOptions
from smolchat_fast.serve.session import Chatbot

KEY = "sk-test"
QUESTION = [{"role": "user", "content": "你好吗"}]
GREEDY = {"temperature": 0.0, "max_tokens": 12}


@pytest.fixture(scope="module")
def server(loaded: LoadedModel) -> Iterator[httpx.Client]:
    """The tiny model behind a real port, asking for a key."""
    options, metrics = DecodeOptions(max_new_tokens=32), Metrics("tiny")
    engine = Engine(loaded.decoder, Limits(), metrics)
    bot = Chatbot("tiny", engine, loaded.tokens, options, options.decoding(loaded.decoding))
    with serving(bot, [KEY], metrics=metrics) as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client
    engine.close()


@pytest.fixture(scope="module")
def base(server: httpx.Client) -> str:
    return f"{str(server.base_url).rstrip('/')}/v1"


@pytest.fixture(scope="module")
def expected(server: httpx.Client) -> str:
    """The greedy answer, over bare HTTP."""
    answer = server.post("/v1/chat/completions", json={"messages": QUESTION, **GREEDY})
    text: str = answer.json()["choices"][0]["message"]["content"]
    assert text
    return text


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients of this file talk to this machine alone."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_openai(base: str, expected: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=base, api_key=KEY, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        whole = client.chat.completions.create(model="tiny", messages=QUESTION, logprobs=True, **GREEDY)
        assert whole.choices[0].message.content == expected
        assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
        assert b"".join(bytes(each.bytes) for each in whole.choices[0].logprobs.content).decode() == expected
        stream = client.chat.completions.create(
            model="tiny", messages=QUESTION, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
        *chunks, last = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
        assert last.usage == whole.usage
        both = client.completions.create(model="tiny", prompt=["你好吗", "今天"], n=2, **GREEDY)
        assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
        assert both.choices[0].text == both.choices[1].text == expected
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="tiny", messages=QUESTION, temperature=3)
        assert (refused.value.code, refused.value.param) == ("invalid_value", "temperature")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-9", messages=QUESTION)
    with (
        openai.OpenAI(base_url=base, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_openai_async_and_a_stream_that_is_left(base: str, expected: str, server: httpx.Client) -> None:
    openai = pytest.importorskip("openai")

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as client:

            async def ask() -> str:
                stream = await client.chat.completions.create(
                    model="tiny", messages=QUESTION, stream=True, **GREEDY
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            async with await client.chat.completions.create(
                model="tiny", messages=QUESTION, stream=True, extra_body={"ignore_eos": True}
            ) as left:
                await anext(aiter(left))
            return await asyncio.gather(*(ask() for _ in range(8)))

    assert asyncio.run(run()) == [expected] * 8
    assert "requests_rejected" in server.get("/metrics").text


def test_langchain(base: str, expected: str) -> None:
    langchain = pytest.importorskip("langchain_openai")
    chat = langchain.ChatOpenAI(model="tiny", base_url=base, api_key=KEY, max_retries=0, **GREEDY)
    assert chat.invoke("你好吗").content == expected
    assert "".join(chunk.content for chunk in chat.stream("你好吗")) == expected
    assert [answer.content for answer in chat.batch(["你好吗"] * 3)] == [expected] * 3


def test_litellm(base: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    how = {"model": "openai/tiny", "api_base": base, "api_key": KEY, "messages": QUESTION, **GREEDY}
    assert litellm.completion(**how).choices[0].message.content == expected
    stream = litellm.completion(**how, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**how, "temperature": 3})


def test_llm(base: str, expected: str, tmp_path: Path) -> None:
    pytest.importorskip("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: tiny\n  model_name: tiny\n  api_base: {base}\n  api_key_name: tiny\n"
    )
    (tmp_path / "keys.json").write_text(json.dumps({"tiny": KEY}))
    options = ["-o", "temperature", "0", "-o", "max_tokens", "12"]
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "tiny", *options, "你好吗"],
        env={**os.environ, "LLM_USER_PATH": str(tmp_path), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    assert done.stdout.rstrip("\n") == expected


def test_ollama(server: httpx.Client, expected: str) -> None:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(str(server.base_url), headers={"authorization": f"Bearer {KEY}"}, trust_env=False)
    assert [model.model for model in client.list().models] == ["tiny:latest"]
    options = {"temperature": 0, "num_predict": 12}
    whole = client.chat("tiny", QUESTION, options=options)
    assert whole.message.content == expected
    assert whole.done
    *pieces, last = client.chat("tiny:latest", QUESTION, options=options, stream=True)
    assert "".join(piece.message.content for piece in pieces) == expected
    assert (last.done_reason, last.eval_count) == (whole.done_reason, whole.eval_count)
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("llama3", QUESTION)
    assert refused.value.status_code == 404
    assert "llama3" in refused.value.error


TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}{end}"
target_delimiter: ""
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""


def test_lm_eval_scores_as_the_model_itself_does(
    base: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ten rows over HTTP and by transformers: each answer gets the same log-probability."""
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.tasks import TaskManager

    words = "北京上海水火山石田土金木"
    rows = [
        {"question": f"{words[i]}是", "choices": [words[i - 1], words[i - 2] + words[i - 3]], "answer": i % 2}
        for i in range(10)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    # The `hf` model's tokenizer ends a question by itself; over HTTP the task must say where it ends.
    for name, end in (("ended", "[EOS]"), ("plain", "")):
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name=name, rows=path, end=end))
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)

    def scores(task: str, model: str, arguments: str) -> list[list[float]]:
        found = lm_eval.simple_evaluate(
            model=model, model_args=arguments, tasks=[task], task_manager=tasks, bootstrap_iters=0
        )
        samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        return [[float(response[0]) for response in sample["filtered_resps"]] for sample in samples]

    over_http = scores(
        "ended",
        "local-completions",
        f"model=tiny,base_url={base}/completions,tokenizer={model_folder},num_concurrent=4,max_retries=1,max_length=512",
    )
    assert len(over_http) == 10
    itself = scores("plain", "hf", f"pretrained={model_folder},backend=seq2seq,device=cpu,dtype=float32")
    for ours, theirs in zip(over_http, itself, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
