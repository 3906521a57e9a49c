"""Build a lossless tokenizer for Chinese from texts or word counts, try it, and encode with it.

    >>> from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer
    >>> tokenizer = build_tokenizer(["今天天气很好。", "今天下雨。"], TokenizerOptions(vocab_size=300))
    >>> tokenizer.encode("今天😀").tokens
    ['今天', '<0xF0>', '<0x9F>', '<0x98>', '<0x80>', '[EOS]']

Ids 0 to 6 are `[PAD] [EOS] [SEP] [BOS] [CLS] [MASK] [UNK]`; 256 byte tokens follow, which spell what has
no entry, so `[UNK]` is never made; then characters and longer entries, each of which some text reaches.
`[EOS]` is appended by the post-processor. Typed by a user it is text: this must be asked of the
`tokenizers` library for each object (`encode_special_tokens = True`); `build_tokenizer` and `load` do,
`AutoTokenizer` does because `save` writes `split_special_tokens`, and so does the encoder of the stream.
"""

from smolchat_fast.tokenizer.build import TokenizerReport, build_tokenizer, build_tokenizer_files
from smolchat_fast.tokenizer.decode import stream_text
from smolchat_fast.tokenizer.encode import EncodeOptions, EncodeReport, encode, encode_files
from smolchat_fast.tokenizer.export import ExportReport, export_files
from smolchat_fast.tokenizer.folder import load, save
from smolchat_fast.tokenizer.options import FIRST_BYTE, FIRST_CHARACTER, SPECIALS, TokenizerOptions
from smolchat_fast.tokenizer.report import Comparison, compare_files, report

__all__ = [
    "FIRST_BYTE",
    "FIRST_CHARACTER",
    "SPECIALS",
    "Comparison",
    "EncodeOptions",
    "EncodeReport",
    "ExportReport",
    "TokenizerOptions",
    "TokenizerReport",
    "build_tokenizer",
    "build_tokenizer_files",
    "compare_files",
    "encode",
    "encode_files",
    "export_files",
    "load",
    "report",
    "save",
    "stream_text",
]
