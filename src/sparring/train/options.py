"""The settings of a fine-tuning run. Light to import: the command line builds its flags from this class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import SettingError
from ..settings import setting, validate

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Everything that decides what a fine-tuning run does; the same values give the same run."""

    model: str = setting("minilm", "model folder or hub name; minilm is the one that comes with sparring[demo]")
    data: str = setting("demo", "training data: a file, a saved datasets folder, a task name, hub:NAME, or demo")
    eval_data: str | None = setting(None, "held-out data; default: the dev split of a task or of the embedded data")
    text: str | None = setting(None, "text column, or two separated by a comma; default: inferred")
    label: str | None = setting(None, "label column; default: inferred")
    limit: int | None = setting(None, "use this many training rows, drawn with a fixed seed", low=1)
    method: str = setting("standard", "training method; see `sparring methods`")
    preset: Literal["default", "printed"] = setting("default", "default acts; printed: the paper's constants")
    settings: dict[str, Any] = field(default_factory=dict)
    output: str = setting("runs/latest", "folder of the run: model, settings, metrics, log, checkpoints")
    epochs: float = setting(3.0, "passes over the training data", above=0)
    max_steps: int = setting(-1, "stop after this many optimiser steps; -1: after the epochs", low=-1)
    batch_size: int = setting(32, "sentences a step on each process", low=1)
    accumulation: int = setting(1, "micro-batches added up before an update", low=1)
    group_by_length: bool = setting(False, "steps of texts of like length: less padding, so less time")
    learning_rate: float = setting(5e-5, "peak learning rate of AdamW", above=0)
    warmup: float = setting(0.1, "share of the steps over which the learning rate rises", low=0, high=1)
    weight_decay: float = setting(0.01, "AdamW weight decay, on matrices", low=0)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this L2 norm; 0: not", low=0)
    label_smoothing: float = setting(0.0, "share of each target spread over all classes", low=0, high=1)
    max_length: int = setting(128, "longest text in tokens; longer ones are cut", low=4)
    precision: Precision = setting("auto", "auto (bf16 where the processor has it), fp32, bf16, fp16 (GPU)")
    adapter: Literal["lora"] | None = setting(None, "lora: train low-rank adapters and the head alone")
    adversary_from: float = setting(0.0, "step at which the adversary enters; below 1: share of all steps", low=0)
    perturb_special: bool = setting(True, "whether [CLS], [SEP] and the like may be perturbed")
    online: str = setting(
        "none",
        "attack training rows with the current model: none, a2t, greedy, random, or a recipe of `sparring recipes`",
    )
    share: float = setting(0.2, "share of the training rows that are attacked in an epoch", above=0, high=1)
    every: int = setting(1, "epochs between attacks; in between their texts are used again", low=1)
    clean_epochs: int = setting(1, "epochs before the first attack", low=0)
    adversarial_weight: float = setting(1.0, "weight of the mean loss of adversarial rows beside that of rows", low=0)
    adversarial_loss: Literal["ce", "kl"] = setting(
        "ce", "loss of adversarial rows: ce (that of the method, on their label) or kl (divergence from their row)"
    )
    query_budget: int = setting(200, "most queries a row in an attack on training rows", low=1)
    synonyms: str = setting("auto", "of online: auto, counterfitted, wordnet, minilm, victim, or a file")
    masked_lm: str | None = setting(None, "of online: masked language model, a folder or hub name")
    without: str | None = setting(None, "of online: constraints to leave off, separated by commas")
    frozen: str | None = setting(None, "of online: numbers of text columns that stay as they are, from 0, such as 0")
    activation_checkpointing: bool = setting(False, "recompute activations in backward: less memory, more time")
    compile: bool = setting(False, "torch.compile the model")
    fsdp: bool = setting(False, "shard weights and optimiser over the processes (FSDP) instead of copying them (DDP)")
    save_every: int = setting(0, "optimiser steps between checkpoints; 0: one an epoch", low=0)
    keep: int = setting(2, "checkpoints kept", low=1)
    seed: int = setting(0, "seed of the head, the order of the data, dropout and every perturbation", low=0)

    def __post_init__(self) -> None:
        validate(self)
        if not isinstance(self.settings, dict) or not all(isinstance(name, str) for name in self.settings):
            raise SettingError(f"FineTune: setting 'settings' is {self.settings!r}; it must be name: value lines")
        if self.max_steps == 0:
            raise SettingError("FineTune: setting 'max_steps' is 0; give a number of steps, or -1 for all epochs")
        columns_of(self.frozen)
        if self.fsdp and (self.adapter or self.online != "none"):
            other = "adapter" if self.adapter else "online"
            raise SettingError(
                f"FineTune: fsdp and {other}={getattr(self, other)} do not go together: {WHOLE[other]}; leave one of "
                "the two out"
            )


WHOLE = {
    "adapter": "adapters are small, and are trained with a copy of the model on each process",
    "online": "attacks on training rows need the whole model on each process",
}


def columns_of(frozen: str | None) -> tuple[int, ...]:
    """Numbers of text columns that no attack may touch, out of a setting such as "0". SettingError for others."""
    parts = [part.strip() for part in (frozen or "").split(",") if part.strip()]
    if any(not part.isdecimal() for part in parts):
        raise SettingError(f"setting 'frozen' is {frozen!r}; give numbers of text columns, such as 0")
    return tuple(int(part) for part in parts)


def check_frozen(frozen: Sequence[int], columns: int) -> None:
    """SettingError for frozen columns that the texts do not have, or if none is left to change."""
    named = ",".join(map(str, frozen))
    if any(not 0 <= number < columns for number in frozen):
        there = f"the columns 0 to {columns - 1}" if columns > 1 else "one column, number 0"
        raise SettingError(f"frozen is {named}; the texts have {there}")
    if frozen and len(set(frozen)) == columns:
        raise SettingError(f"frozen is {named}: every text column, so that nothing may be changed")
