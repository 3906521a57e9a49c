"""Preferences: answers to reject -> DPO of an adapter or of all weights -> one merged model.

Importing this package imports no torch; the stages do when they run.
"""

from smolchat_fast.preference.dpo import dpo_files
from smolchat_fast.preference.merge import merge_files
from smolchat_fast.preference.options import (
    DpoOptions,
    DpoReport,
    MergeOptions,
    MergeReport,
    RejectOptions,
    RejectReport,
)
from smolchat_fast.preference.reject import reject_files

__all__ = [
    "DpoOptions",
    "DpoReport",
    "MergeOptions",
    "MergeReport",
    "RejectOptions",
    "RejectReport",
    "dpo_files",
    "merge_files",
    "reject_files",
]
