"""What the page may do, by its headers and its source; needs no browser."""

from __future__ import annotations

import re

from smolchat_fast.serve import page


def test_the_policy_of_the_page_lets_nothing_else_run() -> None:
    html, headers = page.load()
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.count("'sha256-") == 2
    assert {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}.items() <= headers.items()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\son\w+=\"|\sstyle=\"|eval\(|@import|src=\"(?!data:)",
        html,
    )
    assert not re.search(r"https?://(?![\[?])", html.replace("https?://", ""))
