"""Where torch works: the device, and threads and rounding of the CPU while a stage runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smolchat_fast.errors import MissingExtraError

if TYPE_CHECKING:
    import torch


@contextmanager
def session(threads: int | None = None) -> Iterator[torch.device]:
    """The device to work on: the first GPU, else the CPU with this many threads.

    Denormal numbers count as zero meanwhile (small weights otherwise slow a CPU down by a third or more
    as training goes on), and the libraries below are quiet.

    Args:
        threads: CPU threads of torch; as many as torch finds best by default.
    Raises:
        MissingExtraError: torch or transformers is not installed.
        ValueError: `threads` is below 1.
    """
    try:
        import torch
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("this command needs torch: pip install 'smolchat-fast[train]'") from error
    if threads is not None and threads < 1:
        raise ValueError(f"option threads = {threads}: must be at least 1")
    threads_before, bars_before = torch.get_num_threads(), logging.is_progress_bar_enabled()
    torch.set_num_threads(threads or threads_before)
    torch.set_flush_denormal(True)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # trl and peft still use names of transformers that are being replaced.
            warnings.simplefilter("ignore", FutureWarning)
            yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finally:
        torch.set_num_threads(threads_before)
        torch.set_flush_denormal(False)
        if bars_before:
            logging.enable_progress_bar()
