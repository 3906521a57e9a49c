"""What decides a training run; imports no torch."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from smolchat_fast.errors import refuse_one_string
from smolchat_fast.stream import StreamOptions

OptimizerName = Literal["adamw", "adafactor", "muon"]
ScheduleName = Literal["wsd", "cosine", "onecycle", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]
TrainerName = Literal["own", "hf"]

WATCHED_ONLY = frozenset(
    {
        "eval_every",
        "eval_batches",
        "eval_answers",
        "save_every",
        "save_minutes",
        "keep",
        "log_every",
        "trackers",
    }
)
"""Options that change what is seen of a run but no weight, so a run may go on with others."""

CHOOSING = frozenset({"eval_every", "eval_batches"})
"""Those that decide the weights after all if the best ones are taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How a model is trained."""

    steps: int = 0
    """Steps in all; 0: as many as `epochs` takes."""
    epochs: int = 1
    """Passes over the rows, if `steps` is 0."""
    optimizer: OptimizerName = "muon"
    """muon: Newton-Schulz for hidden matrices, AdamW for the rest; adamw; adafactor (least memory)."""
    lr: float = 0.01
    """Highest learning rate."""
    embedding_lr: float | None = None
    """Highest learning rate of embeddings and norms; as `lr` by default."""
    schedule: ScheduleName = "wsd"
    """wsd: warm-up, stable, linear decay; cosine; onecycle: cosine up and down; constant."""
    warmup_share: float = 0.05
    """Share of the run in which the learning rate rises."""
    decay_share: float = 0.4
    """Share of the run in which `wsd` lets the learning rate fall."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices; norms and embeddings have none."""
    max_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    accumulate: int = 1
    """Batches of a step, which all processes share: a run may go on with another number of them."""
    dropout: float | None = None
    """Dropout while training; the model's own by default."""
    label_smoothing: float = 0.0
    """Probability given to all other tokens together, in the training loss only."""
    precision: Precision = "fp32"
    """Precision of the forward and backward pass; weights stay float32."""
    matmul_precision: Literal["highest", "high", "medium"] = "high"
    """How exactly float32 matrices are multiplied: high allows TF32, medium also bfloat16."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more work."""
    compile: bool = False
    """Compile the model with torch.compile; pays on a GPU and a long run."""
    freeze: tuple[str, ...] = ()
    """Regular expressions; a parameter whose name begins with a match is not trained."""
    eval_every: int = 1000
    """Steps between validations; 0: only at the end."""
    eval_batches: int = 200
    """Batches of a validation loss at most; 0: all."""
    eval_answers: int = 32
    """Validation rows, always the same, that are answered at each validation: exact match and BLEU-4."""
    final_weights: Literal["last", "best"] = "last"
    """What becomes the model: the last weights, or those of the lowest validation loss."""
    save_every: int = 1000
    """Steps between checkpoints; 0: only at the end."""
    save_minutes: float = 15.0
    """Minutes between checkpoints at most; 0: only `save_every` counts."""
    keep: int = 2
    """Checkpoints kept, beside the one of the lowest validation loss."""
    log_every: int = 10
    """Steps between lines of `metrics.jsonl`."""
    trackers: tuple[str, ...] = ()
    """Where figures go as well, by accelerate's names: tensorboard, wandb, swanlab, trackio, ..."""
    trainer: TrainerName = "own"
    """own: this package's loop; hf: the same run by the Seq2SeqTrainer of transformers."""
    seed: int = 1
    """Decides first weights and dropout; the order of rows has its own in `stream`."""
    stream: StreamOptions = StreamOptions()
    """How rows become batches."""

    def deciding(self) -> dict[str, Any]:
        """The options that decide the weights; a run may go on with others of the rest."""
        watched = WATCHED_ONLY - CHOOSING if self.final_weights == "best" else WATCHED_ONLY
        return {name: value for name, value in asdict(self).items() if name not in watched}

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: an option is out of range; names it.
        """
        rules = {
            "steps": (self.steps >= 0, "must be at least 0"),
            "epochs": (self.steps > 0 or self.epochs >= 1, "must be at least 1 if steps is 0"),
            "lr": (self.lr >= 0, "must be at least 0"),
            "embedding_lr": (self.embedding_lr is None or self.embedding_lr >= 0, "must be at least 0"),
            "warmup_share": (0 <= self.warmup_share <= 1, "must be in [0, 1]"),
            "decay_share": (
                0 <= self.decay_share <= 1 - self.warmup_share,
                "must be in [0, 1 - warmup_share]",
            ),
            "weight_decay": (self.weight_decay >= 0, "must be at least 0"),
            "max_norm": (self.max_norm >= 0, "must be at least 0"),
            "accumulate": (self.accumulate >= 1, "must be at least 1"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "must be in [0, 1)"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "must be in [0, 1)"),
            "eval_every": (self.eval_every >= 0, "must be at least 0"),
            "eval_batches": (self.eval_batches >= 0, "must be at least 0"),
            "eval_answers": (self.eval_answers >= 0, "must be at least 0"),
            "save_every": (self.save_every >= 0, "must be at least 0"),
            "save_minutes": (self.save_minutes >= 0, "must be at least 0"),
            "keep": (self.keep >= 1, "must be at least 1"),
            "log_every": (self.log_every >= 1, "must be at least 1"),
        }
        if self.trainer == "hf" and (self.final_weights == "best" or self.trackers):
            raise ValueError("option trainer = hf: goes with final_weights = last and without trackers")
        if self.schedule != "wsd":
            del rules["decay_share"]
        for name, (fits, rule) in rules.items():
            if not fits:
                raise ValueError(f"option {name} = {getattr(self, name)}: {rule}")
        refuse_one_string("trackers", self.trackers)
        refuse_one_string("freeze", self.freeze)
        for pattern in self.freeze:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"option freeze = {pattern!r}: not a regular expression ({error})"
                ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class SftOptions(TrainOptions):
    """How a pre-trained model is taught to answer: gently, and without touching what reads."""

    epochs: int = 3
    """Passes over the rows, if `steps` is 0."""
    optimizer: OptimizerName = "adamw"
    """muon: Newton-Schulz for hidden matrices, AdamW for the rest; adamw; adafactor (least memory)."""
    lr: float = 5e-5
    """Highest learning rate."""
    schedule: ScheduleName = "cosine"
    """wsd: warm-up, stable, linear decay; cosine; onecycle: cosine up and down; constant."""
    freeze: tuple[str, ...] = ("encoder", "shared")
    """Regular expressions; a parameter whose name begins with a match is not trained."""
