"""Raw Chinese text to a small T5 chat model, and each step of the way as a library.

The data stages (`clean`, `dedup`, `passages`, `words`, `tokenizer`, `split`, `stream`) need only pyarrow;
nothing here imports torch until `model`, `train`, `preference`, `evaluate` or `serve` is imported.
"""

from smolchat_fast import _core
from smolchat_fast.errors import DataError, StageError

__version__: str = _core.version()
__all__ = ["DataError", "StageError", "__version__"]
