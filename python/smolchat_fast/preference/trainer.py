"""trl's DPO trainer for encoder-decoder models, which trl itself no longer trains.

What trl would do on one sequence of prompt and answer is done here on two: the data and the reference
come prepared from `pairs`, and the loss is its own. Optimizer, schedule, checkpoints and resume are those
of trl and transformers.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from smolchat_fast.encode import IGNORED
from smolchat_fast.preference.pairs import answer_log_probs


class Seq2SeqDpoTrainer(DPOTrainer):
    """Trains `T5ForConditionalGeneration` on pairs as `read_pairs` and `with_reference` make them.

    Its arguments need `precompute_ref_log_probs`, or trl would load the reference as a second model.
    """

    model: Any

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: DPOConfig, dataset_name: str
    ) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False) -> Any:
        with self.accelerator.autocast():
            log_probs = answer_log_probs(model, inputs)
        rewards = self.beta * (log_probs - inputs["reference"])  # [2 B]
        chosen, rejected = rewards.chunk(2)
        targets = (inputs["labels"][: len(chosen)] != IGNORED).sum()
        sft = -log_probs[: len(chosen)].sum() / targets
        self._keep(
            {
                "sft_loss": sft,
                "rewards/chosen": chosen,
                "rewards/rejected": rejected,
                "rewards/margins": chosen - rejected,
                "rewards/accuracies": (chosen > rejected).float(),
            }
        )
        loss = dpo_loss(chosen, rejected).mean() + self.loss_weights[1] * sft
        return (loss, {}) if return_outputs else loss

    def _keep(self, measures: dict[str, Tensor]) -> None:
        """Note measures of the batch for the next line of the log."""
        kept = self._metrics["train" if self.model.training else "eval"]
        for name, values in measures.items():
            gathered: Any = self.accelerator.gather(values.detach())
            kept[name].append(gathered.mean().item())

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the stage's manifest tells how the weights were made."""

    def _send_telemetry(self) -> None:
        """Send none."""


def dpo_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Loss of direct preference optimisation.

    Args:
        chosen: float32 [B], rewards of the chosen answers: beta x (log-probability - that of the reference).
        rejected: float32 [B], rewards of the rejected answers.
    Returns:
        float32 [B].
    Source: Rafailov et al. 2023, equation 7, https://arxiv.org/abs/2305.18290
    """
    return -functional.logsigmoid(chosen - rejected)
