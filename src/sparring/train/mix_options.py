"""The settings of an adapter mixture. Light to import: the command line builds its flags from this class."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..adapters.shape import AdapterShape, Kind
from ..errors import SettingError
from ..settings import setting, validate
from .options import FineTune, Precision, columns_of

BASELINES = ("union", "model-soup", "adapter-soup", "logits", "vote", "constant")
"""What a mixture is compared with. union: one adapter trained on clean and all attacked rows. model-soup: the mean of
whole models, one fine-tuned on clean rows and one a known attack. adapter-soup: the mean of the adapters' parameters.
logits: the mean of the adapters' logits. vote: the majority of their answers. constant: mixed in the same shares for
every example."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Everything that decides what an adapter mixture is; the same values give the same files."""

    model: str = setting("minilm", "base, which is not trained: folder or hub name; minilm comes with sparring[demo]")
    data: str = setting("demo", "training data: a file, a saved datasets folder, a task name, hub:NAME, or demo")
    eval_data: str | None = setting(None, "held-out data, also for calibration; default: a tenth of the training rows")
    text: str | None = setting(None, "text column, or two separated by a comma; default: inferred")
    label: str | None = setting(None, "label column; default: inferred")
    limit: int | None = setting(None, "use this many training rows, drawn with a fixed seed", low=1)
    attacks: str = setting("deepwordbug", "known attacks, separated by commas; see `sparring recipes`")
    attack_rows: int = setting(1000, "training rows that each attack is tried on; 0: all", low=0)
    budget: int | None = setting(None, "most queries for each of them", low=1)
    frozen: str | None = setting(None, "numbers of text columns that no attack may touch, from 0, such as 0")
    synonyms: str | None = setting(None, "synonyms of the attacks: wordnet, minilm, or a file of vectors or neighbours")
    masked_lm: str | None = setting(None, "masked language model of the attacks, folder or hub name")
    without: str | None = setting(None, "constraints that the attacks go without, separated by commas")
    train_on: Literal["adversarial", "both"] = setting(
        "adversarial", "rows for an attack's adapter: attacked ones alone, or clean ones too"
    )
    adapter: Kind = setting("lora", "kind of adapter: lora, houlsby, pfeiffer")
    rank: int = setting(8, "LoRA: rank of an update", low=1)
    alpha: float = setting(8.0, "LoRA: updates are scaled by alpha / rank", above=0)
    targets: str | None = setting(None, "LoRA: layers by the end of their names; default: queries and values")
    reduction: int = setting(16, "bottlenecks: entries of a vector for each hidden unit", low=1)
    head: Literal["shared", "mixed"] = setting("shared", "one head, trained with the clean adapter; or one an adapter")
    gate: Literal["minmax_ratio", "entropy_ratio", "softmax_neg_entropy", "constant"] = setting(
        "minmax_ratio", "how entropies become shares"
    )
    temperature: float = setting(1.0, "of the gate softmax_neg_entropy, in nats", above=0)
    constant: float = setting(0.5, "share of the clean adapter: constant gate, constant baseline", low=0, high=1)
    space: Literal["updates", "parameters"] | None = setting(None, "what is mixed; default: updates for LoRA")
    baselines: str | None = setting(None, f"also make what to compare with: all, or some of {', '.join(BASELINES)}")
    output: str = setting("runs/mix", "folder of the mixture")
    epochs: float = setting(3.0, "passes over the clean rows", above=0)
    attack_epochs: float = setting(5.0, "passes over the rows of an attack", above=0)
    batch_size: int = setting(32, "sentences a step", low=1)
    learning_rate: float = setting(1e-3, "peak learning rate of AdamW for adapters", above=0)
    full_learning_rate: float = setting(5e-5, "the same for the whole models of model-soup", above=0)
    warmup: float = setting(0.1, "share of the steps over which the learning rate rises", low=0, high=1)
    weight_decay: float = setting(0.01, "AdamW weight decay, on matrices", low=0)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this L2 norm; 0: not", low=0)
    max_length: int = setting(128, "longest text in tokens; longer ones are cut", low=4)
    precision: Precision = setting("auto", "auto (bf16 where the processor has it), fp32, bf16, fp16 (GPU)")
    save_every: int = setting(0, "optimiser steps between checkpoints; 0: one an epoch", low=0)
    seed: int = setting(0, "seed of adapters, head, order of the data and attacks", low=0)

    def __post_init__(self) -> None:
        validate(self)
        names = self.known_attacks
        if not names or len(set(names)) < len(names):
            raise SettingError(f"Mix: setting 'attacks' is {self.attacks!r}; name each attack once, at least one")
        if "clean" in names:
            raise SettingError("Mix: setting 'attacks' names 'clean', which is the name of the clean adapter")
        for name in self.compared:
            if name not in BASELINES:
                raise SettingError(
                    f"Mix: setting 'baselines' names {name!r}; choose from {', '.join(BASELINES)}, or all"
                )
        columns_of(self.frozen)
        if self.space == "updates" and self.adapter != "lora":
            raise SettingError(f"Mix: {self.adapter} adapters have no updates to mix; leave 'space' out, or use lora")

    @property
    def known_attacks(self) -> tuple[str, ...]:
        """Names of the recipes."""
        return _names(self.attacks)

    @property
    def frozen_columns(self) -> tuple[int, ...]:
        """Numbers of the text columns that no attack may touch."""
        return columns_of(self.frozen)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the baselines to make."""
        return BASELINES if self.baselines == "all" else _names(self.baselines)

    @property
    def shape(self) -> AdapterShape:
        """Of the adapters."""
        return AdapterShape(
            kind=self.adapter, rank=self.rank, alpha=self.alpha, targets=self.targets, reduction=self.reduction
        )

    def anywhere(self) -> "Mix":
        """The same with files and folders by their absolute paths, so that it means the same from every folder."""
        named = {name: getattr(self, name) for name in ("model", "data", "eval_data", "synonyms", "masked_lm")}
        paths: dict[str, Any] = {
            name: str(Path(value).resolve()) for name, value in named.items() if value and Path(value).exists()
        }
        return replace(self, **paths)

    def fine_tuning(self, folder: Path, *, epochs: float, learning_rate: float) -> FineTune:
        """One training of the job, as settings of a fine-tuning run in a folder."""
        own = asdict(self)
        shared = ("model", "batch_size", "warmup", "weight_decay", "max_grad_norm", "max_length", "precision", "seed")
        return FineTune(
            **{name: own[name] for name in (*shared, "save_every")},
            output=str(folder),
            epochs=epochs,
            learning_rate=learning_rate,
        )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
