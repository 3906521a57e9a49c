"""`python -m benches.peers`: all side-by-side runs, or the named ones."""

from __future__ import annotations

import argparse

from . import dedup, stream, tokenizer, words


def main() -> None:
    parser = argparse.ArgumentParser(prog="benches.peers", description=__doc__)
    parser.add_argument(
        "what", nargs="*", metavar="dedup|stream|tokenizer|words", help="which runs; all by default"
    )
    parser.add_argument("--rows", type=int, default=200_000, help="rows for dedup (default: %(default)s)")
    parser.add_argument(
        "--stream-rows", type=int, default=50_000, help="rows for stream (default: %(default)s)"
    )
    parser.add_argument("--mb", type=float, default=20.0, help="megabytes for words (default: %(default)s)")
    parser.add_argument(
        "--tokenizer-mb", type=float, default=20.0, help="megabytes for tokenizer (default: %(default)s)"
    )
    chosen = parser.parse_args()
    runs = {
        "dedup": lambda: dedup.run(chosen.rows),
        "stream": lambda: stream.run(chosen.stream_rows),
        "tokenizer": lambda: tokenizer.run(chosen.tokenizer_mb),
        "words": lambda: words.run(chosen.mb),
    }
    unknown = set(chosen.what) - set(runs)
    if unknown:
        parser.error(f"no run is called {', '.join(sorted(unknown))}")
    for name in chosen.what or runs:
        print(runs[name](), flush=True)
        print()


if __name__ == "__main__":
    main()
