"""What a model can do, measured: loss by target token, exact match, BLEU-4, and the card that holds them.

Importing this package imports no torch; the evaluation does when it runs.
"""

from smolchat_fast.evaluate.card import BleuScore, Card, ExactScore, LossScore, Sample
from smolchat_fast.evaluate.evaluate import evaluate_files
from smolchat_fast.evaluate.options import EvaluateOptions

__all__ = ["BleuScore", "Card", "EvaluateOptions", "ExactScore", "LossScore", "Sample", "evaluate_files"]
