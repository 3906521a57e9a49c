"""The chat page: one file of the package, with a policy that lets nothing but itself run."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files


def load() -> tuple[str, dict[str, str]]:
    """The page and its headers.

    Its script and its style are allowed by their hashes, so nothing that a model or a user writes can
    become either.
    """
    html = files("smolchat_fast.serve").joinpath("page.html").read_text("utf-8")
    policy = [
        "default-src 'none'",
        f"script-src {_hashes(html, 'script')}",
        f"style-src {_hashes(html, 'style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    headers = {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return html, headers


def _hashes(html: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
