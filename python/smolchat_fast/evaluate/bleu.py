"""BLEU-4 of a whole corpus, by sacrebleu: units that no model's tokenizer has a say in."""

from __future__ import annotations

from collections.abc import Sequence

from smolchat_fast.errors import MissingExtraError
from smolchat_fast.evaluate.card import BleuScore


def score_bleu(answers: Sequence[str], references: Sequence[str]) -> BleuScore:
    """BLEU-4 of answers against one reference each.

    Each Chinese character is a unit; words, numbers and signs of other scripts are units as in WMT. n-grams
    are counted over all answers, and answers that are too short in all pay the brevity penalty; those that
    are too long gain nothing.

    Args:
        answers: N answers, at least one.
        references: N references.
    Returns:
        The score, 0 to 100, with the settings that make it comparable.
    Raises:
        MissingExtraError: sacrebleu is not installed.
    Source: Papineni et al. 2002, https://doi.org/10.3115/1073083.1073135; Post 2018,
        https://arxiv.org/abs/1804.08771
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtraError("BLEU needs sacrebleu: pip install 'smolchat-fast[train]'") from error
    metric = BLEU(tokenize="zh")
    found = metric.corpus_score(list(answers), [list(references)])
    return BleuScore(
        rows=len(answers),
        score=found.score,
        precisions=tuple(found.precisions),
        brevity_penalty=found.bp,
        signature=str(metric.get_signature()),
    )
