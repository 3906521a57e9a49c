"""Download what a named data set consists of, through the library of the Hugging Face Hub.

It goes on where a broken download ended. Every file is then compared with the hash that the hub states, and
`fetched.json` says which commits they are of: who downloads like it gets the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.sources.sets import named
from smolchat_fast.stage import PARTIAL

ATTEMPTS = 5
"""A connection may break so often before a file is given up; what has arrived is kept."""
FETCHED = "fetched.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFile:
    """A file that is whole."""

    repository: str
    revision: str
    """Commit of the repository."""
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchReport:
    """What was downloaded."""

    name: str
    files: tuple[FetchedFile, ...]

    def __str__(self) -> str:
        size = sum(file.bytes for file in self.files)
        lines = [f"{self.name}: {len(self.files)} files, {size / 1e6:,.1f} MB"]
        lines += [f"  {file.path}  sha256 {file.sha256[:12]}" for file in self.files]
        return "\n".join(lines)


@arguments
def fetch_set(
    name: str,
    out: Path,
    *,
    mirror: str | None = None,
    revision: str = "main",
    like: Path | None = None,
    tell: Callable[[str], object] | None = None,
) -> FetchReport:
    """Download the files of a named data set. Run it again after a break: it goes on where it ended.

    Args:
        name: As `sources list` tells it.
        out: Folder for the files, a folder in it for each repository.
        mirror: Address to use in place of the hub's; `HF_ENDPOINT` by default. Your token is not sent there.
        revision: Branch, tag or commit.
        like: `fetched.json` of another download; the same commits are taken.
        tell: Called with one line about each file.
    Raises:
        ValueError: there is no such data set, or its publisher wants it downloaded by hand.
        DataError: a file is not the one that the hub states, or `like` does not tell its commit.
        MissingExtraError: `huggingface_hub` is not installed.
        OSError: the connection failed too often; what has arrived is kept.
    """
    found = named(name)
    if not found.repositories:
        raise ValueError(f"{name} is downloaded by hand, from {found.home}; then: sources read {name} FILES")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError(
            "downloads need one more package: pip install 'smolchat-fast[fetch]'"
        ) from error
    api = HfApi(endpoint=mirror, token=_token(mirror))
    commits = {} if like is None else _commits(like, found.repositories)
    files = []
    for repository in found.repositories:
        wanted_revision = commits.get(repository, revision)
        info = _try(
            partial(api.dataset_info, repository, revision=wanted_revision, files_metadata=True), repository
        )
        wanted = [file for file in info.siblings if _is_wanted(file.rfilename, found.patterns)]
        if not wanted:
            raise DataError(f"{repository}: no file fits {', '.join(found.patterns)}; look at {found.home}")
        for file in wanted:
            path = _download(repository, info.sha, file, out / repository.replace("/", "--"), mirror)
            files.append(
                FetchedFile(
                    repository=repository,
                    revision=info.sha,
                    path=path,
                    bytes=path.stat().st_size,
                    sha256=_digest(path, hashlib.sha256()),
                )
            )
            if tell:
                tell(f"{repository}/{file.rfilename}  {files[-1].bytes / 1e6:,.1f} MB")
    report = FetchReport(name=name, files=tuple(files))
    text = json.dumps(asdict(report), ensure_ascii=False, indent=2, default=str)
    (out / FETCHED).write_text(text + "\n", "utf-8")
    return report


def _token(mirror: str | None) -> Literal[False] | None:
    """The token of the hub, which is for the hub alone."""
    return None if mirror is None else False


def _commits(path: Path, repositories: tuple[str, ...]) -> dict[str, str]:
    """The commit of each repository as `fetched.json` tells it."""
    try:
        commits = {file["repository"]: file["revision"] for file in json.loads(path.read_bytes())["files"]}
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is no {FETCHED} of a download") from error
    if missing := [repository for repository in repositories if repository not in commits]:
        raise DataError(f"{path}: tells no commit of {', '.join(missing)}")
    return commits


def _is_wanted(path: str, patterns: tuple[str, ...]) -> bool:
    if path.rsplit("/", 1)[-1].startswith((".", "README")):
        return False
    return not patterns or any(fnmatch(path, pattern) for pattern in patterns)


def _download(repository: str, revision: str, file: Any, folder: Path, mirror: str | None) -> Path:
    """The file under its name once it is the one that the hub states; what has arrived of it stands beside it.

    The library's own `hf_hub_download` goes on where a connection broke off, but begins anew with each process.
    """
    from huggingface_hub import hf_hub_url

    path = folder / file.rfilename
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{repository}: names a file outside its folder: {file.rfilename}")
    if path.exists() and _is_stated(path, file):
        return path
    what = f"{repository}/{file.rfilename}"
    arrived = path.with_name(path.name + PARTIAL)
    arrived.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(repository, file.rfilename, repo_type="dataset", revision=revision, endpoint=mirror)
    # What an earlier run left may be of another revision: then once more from the beginning.
    for _ in range(2):
        _try(partial(_append, url, arrived, file.size, mirror), what)
        if _is_stated(arrived, file):
            arrived.replace(path)
            return path
        arrived.unlink()
    raise DataError(f"{what}: its hash is not the one that the hub states; try again")


def _append(url: str, arrived: Path, size: int | None, mirror: str | None) -> None:
    """Download what is missing behind the bytes that have arrived."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(token=_token(mirror))
    location = get_hf_file_metadata(url, endpoint=mirror, token=_token(mirror)).location
    if urlsplit(location).netloc != urlsplit(url).netloc:
        # The token is for the hub, not for the store that it sends us to.
        headers.pop("authorization", None)
    with arrived.open("ab") as file:
        if size is not None and file.tell() > size:
            file.seek(file.truncate(0))
        http_get(location, file, resume_size=file.tell(), headers=headers, expected_size=size)


def _is_stated(path: Path, file: Any) -> bool:
    if file.lfs is not None:
        return _digest(path, hashlib.sha256()) == file.lfs.sha256
    if not file.blob_id:
        return file.size is None or path.stat().st_size == file.size
    # Small files are stated by the hash that git gives them.
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    return _digest(path, git) == file.blob_id


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _try(work: Callable[[], Any], what: str) -> Any:
    """Work that may break off a few times."""
    from huggingface_hub import file_download
    from huggingface_hub.errors import HfHubHTTPError

    # The library's own client, which is another package from version to version.
    client: Any = vars(file_download).get("httpx2") or vars(file_download)["httpx"]
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except HfHubHTTPError as error:
            raise OSError(f"{what}: the server says: {str(error).splitlines()[0]}") from error
        except (client.TransportError, OSError) as error:
            if attempt + 1 == ATTEMPTS:
                raise OSError(f"{what}: {error}. Run the same again: it goes on where it ended.") from error
    raise AssertionError("unreachable")
