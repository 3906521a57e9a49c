"""A tokenizer and the folder that `AutoTokenizer.from_pretrained` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.tokenizer.options import SPECIALS

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@arguments
def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that `AutoTokenizer.from_pretrained(folder)` reads, without remote code.

    Args:
        tokenizer: A tokenizer of `build_tokenizer`.
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **SPECIALS,
        # What a user types is text, even where it reads like a special token.
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        # T5 takes no token types.
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
    }
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    for name, content in (("tokenizer_config", config), ("special_tokens_map", SPECIALS)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


@arguments
def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, as `build_tokenizer` gave it.

    A copy by `pickle` or `deepcopy` takes special tokens in a text for their ids: the library copies its
    `encode_special_tokens` not along. Set it again, or load the folder where it is needed.

    Raises:
        FileNotFoundError: the folder holds no `tokenizer.json`.
        DataError: it is no tokenizer.
    """
    path = folder / "tokenizer.json"
    try:
        return from_text(path.read_text("utf-8"))
    except MissingExtraError:
        raise
    except OSError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{path}: not a tokenizer of the `tokenizers` library ({error})") from error


def from_text(text: str) -> Tokenizer:
    """The tokenizer that the content of a `tokenizer.json` stands for; special tokens in a text are text."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("a tokenizer needs `pip install 'smolchat-fast[tokenizer]'`") from error
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True
    return tokenizer
