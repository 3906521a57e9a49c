"""The chat page: one file made of the parts in `web`, with a policy that lets nothing but itself run."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def load() -> tuple[str, dict[str, str]]:
    """The page and its headers.

    Its script and its style are allowed by their hashes, so nothing that a model or a user writes can
    become either.
    """
    web = files("smolchat_fast.serve").joinpath("web")
    html, style, markdown, script = (
        web.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "markdown.js", "page.js")
    )
    script = markdown + script
    html = html.replace("<style></style>", f"<style>{style}</style>")
    html = html.replace("<script></script>", f"<script>{script}</script>")
    policy = [
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
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


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
