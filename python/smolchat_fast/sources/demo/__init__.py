"""The built-in demo corpus: true facts, many wordings, dirty raw files, and honest questions."""

from .corpus import DemoCorpusReport, write_corpus
from .options import DemoCorpusOptions, DirtShares
from .relations import load_relations, look

__all__ = ["DemoCorpusOptions", "DemoCorpusReport", "DirtShares", "load_relations", "look", "write_corpus"]
