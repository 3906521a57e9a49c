"""Downloads from a server that breaks off in the middle go on, and every file is checked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("huggingface_hub")

from smolchat_fast.errors import DataError
from smolchat_fast.sources.fetching import fetch_set

COMMIT = "a" * 40
REPOSITORY = "wangrui6/Zhihu-KOL"
FILE = "data/train.parquet"
CONTENT = bytes(range(256)) * 120_000  # more than the chunks that the library writes at once


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs."""

    protocol_version = "HTTP/1.1"
    breaks = 0
    stated = hashlib.sha256(CONTENT).hexdigest()
    file = FILE
    asked: list[str | None] = []  # noqa: RUF012
    tokens: list[str | None] = []  # noqa: RUF012
    revisions: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        Hub.tokens.append(self.headers.get("Authorization"))
        if self.path.startswith("/api/datasets/"):
            Hub.revisions.append(urlsplit(self.path).path.rpartition("/revision/")[2])
            lfs = {"sha256": Hub.stated, "size": len(CONTENT), "pointerSize": 134}
            names = [Hub.file, "README.md"]
            siblings = [
                {"rfilename": name, "size": len(CONTENT), "blobId": "b" * 40, "lfs": lfs} for name in names
            ]
            info = {"id": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
            self._send(json.dumps(info | {"siblings": siblings}).encode(), body=body)
        elif self.path.endswith(FILE):
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").split("-")[0] or 0) if wanted else 0
            if body:
                Hub.asked.append(wanted)
            self._send(CONTENT[start:], start=start, body=body, partial=wanted is not None)
        else:
            self.send_error(404)

    def _send(self, content: bytes, *, start: int = 0, body: bool = True, partial: bool = False) -> None:
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{Hub.stated}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        if body and Hub.breaks and len(content) > 1_000_000:
            Hub.breaks -= 1
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        elif body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(breaks: int) -> Iterator[str]:
    Hub.breaks, Hub.asked, Hub.tokens, Hub.revisions = breaks, [], [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_download_that_breaks_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    with hub(breaks=2) as address:
        report = fetch_set("zhihu_kol", tmp_path, mirror=address)
        assert report.files[0].path.read_bytes() == CONTENT
        assert any(range_ and not range_.startswith("bytes=0-") for range_ in Hub.asked), Hub.asked
        assert [file.revision for file in report.files] == [COMMIT]
        assert json.loads((tmp_path / "fetched.json").read_text())["files"][0]["sha256"] == Hub.stated
        before = len(Hub.asked)
        assert fetch_set("zhihu_kol", tmp_path, mirror=address) == report
        assert len(Hub.asked) == before, "nothing is downloaded twice"


def test_a_download_that_was_given_up_goes_on_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with hub(breaks=100) as address, pytest.raises(OSError, match="goes on where it ended"):
        fetch_set("zhihu_kol", tmp_path, mirror=address)
    assert not list(tmp_path.rglob("train.parquet"))
    with hub(breaks=0) as address:
        report = fetch_set("zhihu_kol", tmp_path, mirror=address)
        assert report.files[0].path.read_bytes() == CONTENT
        assert all(range_ and not range_.startswith("bytes=0-") for range_ in Hub.asked), Hub.asked


@pytest.mark.parametrize("length", [1_000, len(CONTENT), len(CONTENT) + 1])
def test_what_was_changed_here_is_downloaded_anew(tmp_path: Path, length: int) -> None:
    path = tmp_path / REPOSITORY.replace("/", "--") / FILE
    path.parent.mkdir(parents=True)
    for changed in (path, path.with_name(path.name + ".partial")):
        changed.write_bytes(b"x" * length)
    with hub(breaks=0) as address:
        assert fetch_set("zhihu_kol", tmp_path, mirror=address).files[0].path == path
    assert path.read_bytes() == CONTENT
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_another_download_can_be_repeated_and_the_token_of_the_hub_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub(breaks=0) as address:
        first = fetch_set("zhihu_kol", tmp_path / "one", mirror=address)
        fetch_set("zhihu_kol", tmp_path / "two", mirror=address, like=tmp_path / "one" / "fetched.json")
        assert first.files[0].revision == COMMIT
        assert Hub.revisions == ["main", COMMIT]
        assert set(Hub.tokens) == {None}
        (tmp_path / "other.json").write_text('{"files": []}')
        with pytest.raises(DataError, match=r"other\.json: tells no commit of wangrui6/Zhihu-KOL"):
            fetch_set("zhihu_kol", tmp_path / "two", mirror=address, like=tmp_path / "other.json")


def test_a_file_that_would_leave_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "file", "../../evil.parquet")
    with hub(breaks=0) as address, pytest.raises(DataError, match=r"outside its folder: \.\./\.\./evil"):
        fetch_set("zhihu_kol", tmp_path / "in" / "out", mirror=address)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("by_option", [True, False], ids=["--mirror", "HF_ENDPOINT"])
def test_the_command_takes_a_mirror_by_option_or_by_environment(tmp_path: Path, by_option: bool) -> None:
    with hub(breaks=1) as address:
        command = [sys.executable, "-m", "smolchat_fast", "sources", "fetch", "zhihu_kol", "--out", tmp_path]
        mirror = ["--mirror", address] if by_option else []
        # An address that answers nothing, so that only the option can have worked.
        environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9" if by_option else address}
        run = subprocess.run([*command, *mirror], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert f"sha256 {Hub.stated[:12]}" in run.stdout
        assert any(range_ and not range_.startswith("bytes=0-") for range_ in Hub.asked), Hub.asked


def test_a_file_that_is_not_the_stated_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "stated", "0" * 64)
    with hub(breaks=0) as address, pytest.raises(DataError, match=r"train\.parquet: its hash is not the one"):
        fetch_set("zhihu_kol", tmp_path, mirror=address)
    assert not list(tmp_path.rglob("train.parquet"))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Zhihu-KOL: .*goes on where it ended"):
        fetch_set("zhihu_kol", tmp_path, mirror="http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"downloaded by hand, from https://aistudio\.baidu\.com"):
        fetch_set("duie1", tmp_path)
