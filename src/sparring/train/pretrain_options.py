"""The settings of a pre-training run. Light to import: the command line builds its flags from this class."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import SettingError
from ..settings import Size, setting, validate
from .options import Precision

TRAINED = ("wordpiece", "bpe")
"""Kinds of tokenizer that are trained on the corpus."""


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Everything that decides what a pre-training run does; the same values give the same run."""

    corpus: str = setting(
        "demo", "text: files, globs, folders separated by commas (.txt, .jsonl, .parquet), hub:NAME, or demo"
    )
    field: str | None = setting(None, "name of the field or column that holds the text; default: text")
    bad_lines: Literal["skip", "fail"] = setting("skip", "corrupt lines: skip (counted and reported) or fail")
    eval_corpus: str | None = setting(None, "held-out text; default: documents of the corpus, see hold_out")
    hold_out: int = setting(100, "without eval_corpus, every so manieth document is held out; 0: none", low=0)
    eval_blocks: int = setting(128, "blocks of held-out text that are scored", low=1)
    model: str | None = setting(None, "continue from this folder or hub name (minilm: the one of sparring[demo])")
    objective: Literal["mlm", "clm"] = setting("mlm", "mlm (masked tokens, encoders) or clm (next tokens, decoders)")
    family: str | None = setting(None, "from scratch: bert or roberta (mlm), gpt2 (clm)")
    size: str | None = setting(None, "from scratch: tiny, mini, small, base or large; default: mini")
    model_config: str | None = setting(None, "from scratch: a config.json or its folder, in place of family and size")
    tokenizer: str | None = setting(
        None, "wordpiece or bpe (trained on the corpus), or a folder or hub name; default: that of model or family"
    )
    vocab: int | None = setting(
        None, "entries of a tokenizer that is trained on the corpus; default: 8000, for the demo 1500", low=1
    )
    lower: bool = setting(True, "whether a wordpiece tokenizer that is trained lower-cases the text")
    length: int = setting(128, "tokens of a block; documents are packed to this length", low=16)
    method: str = setting("standard", "training method; see `sparring methods`")
    preset: Literal["default", "printed"] = setting("default", "default acts; printed: the paper's constants")
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    curriculum: str = setting(
        "none", "plain training first: none, half, or a share of the steps; the adversary enters after it", number=True
    )
    weight_ramp: float = setting(
        0.0, "share of the steps over which the method's weight rises once the adversary is in", low=0, high=1
    )
    perturb_special: bool = setting(True, "whether [CLS], [SEP] and the like may be perturbed")
    masking: str = setting(
        "0.15", "share of tokens masked, or a ramp such as 0.05:0.25 or 0.05:0.25:5 (stairs)", number=True
    )
    masking_unit: Literal["token", "word", "span"] = setting("token", "what is masked as a whole: token, word or span")
    steps: int = setting(10_000, "optimiser steps", low=1)
    batch_size: int = setting(32, "blocks a micro-batch on each process", low=1)
    accumulation: int = setting(1, "micro-batches added up before an update", low=1)
    learning_rate: float = setting(1e-4, "peak learning rate of AdamW", above=0)
    layer_decay: float = setting(
        1.0, "learning rate of a layer as a share of that of the layer above; 1: the same for all", above=0, high=1
    )
    freeze_embeddings: bool = setting(False, "keep the embeddings as they are")
    warmup: float = setting(0.05, "share of the steps over which the learning rate rises", low=0, high=1)
    schedule: Literal["linear", "cosine", "constant"] = setting("linear", "how the learning rate falls after warmup")
    weight_decay: float = setting(0.01, "AdamW weight decay, on matrices", low=0)
    adam_beta2: float = setting(0.98, "AdamW: how long squared gradients are remembered", above=0, high=1)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this L2 norm; 0: not", low=0)
    precision: Precision = setting("auto", "auto (bf16 where the processor has it), fp32, bf16, fp16 (GPU)")
    compile: bool = setting(False, "torch.compile the model")
    activation_checkpointing: bool = setting(False, "recompute activations in backward: less memory, more time")
    fsdp: bool = setting(False, "shard weights and optimiser over the processes (FSDP) instead of copying them (DDP)")
    save_every: int = setting(0, "optimiser steps between checkpoints; 0: ten in all", low=0)
    keep: int = setting(2, "checkpoints kept", low=1)
    eval_every: int = setting(0, "optimiser steps between scores on held-out text; 0: twenty in all", low=0)
    shuffle: int = setting(10_000, "documents in the shuffling buffer, over all rows of a step", low=1)
    workers: int = setting(
        1, "who prepares text ahead: 1 a thread, more so many processes (for a GPU: as many as cores); 0: nobody", low=0
    )
    seed: int = setting(0, "seed of the weights, the order of the text, masks, dropout and every perturbation", low=0)
    output: str = setting("runs/pretrain", "folder of the run: model, settings, metrics, log, checkpoints")
    minimal_pairs: str | None = setting(
        None, "jsonl with sentence_good and sentence_bad, or a folder of such files, scored at the end"
    )
    pseudo_texts: int = setting(
        32, "mlm: held-out documents, cut to a block, whose pseudo-perplexity is taken at the end", low=0
    )
    finetune: str | None = setting(
        None, "afterwards, fine-tune on these tasks or files, separated by commas; see `sparring train --data`"
    )
    finetune_methods: str = setting("standard", "methods of these fine-tunings, separated by commas")
    finetune_epochs: float = setting(3.0, "passes of these fine-tunings over their data", above=0)
    finetune_learning_rate: float = setting(5e-5, "peak learning rate of these fine-tunings", above=0)
    finetune_batch_size: int = setting(32, "sentences a step of these fine-tunings on each process", low=1)
    finetune_length: int = setting(128, "longest text of these fine-tunings in tokens; longer ones are cut", low=4)
    finetune_limit: int | None = setting(None, "fine-tune on this many rows of each, drawn with a fixed seed", low=1)
    finetune_attack: str = setting(
        "deepwordbug", "attack the fine-tuned models with this recipe of `sparring recipes`; none: do not"
    )
    finetune_radius: Size = setting(
        "0.03x", "attack their embeddings too, with PGD at this size; 0.03x: of the mean token norm; 0: do not", low=0
    )
    finetune_rows: int = setting(
        200, "held-out rows on which they are attacked, drawn with a fixed seed; 0: all", low=0
    )

    def __post_init__(self) -> None:
        validate(self)
        if not isinstance(self.settings, dict) or not all(isinstance(name, str) for name in self.settings):
            raise SettingError(f"Pretrain: setting 'settings' is {self.settings!r}; it must be name: value lines")
        plain_share(self.curriculum)
        if self.hold_out == 1:
            raise SettingError("Pretrain: setting 'hold_out' is 1, which leaves nothing to train on; use 2 or more")
        if self.adam_beta2 >= 1:
            raise SettingError("Pretrain: setting 'adam_beta2' is 1; it must be below 1, such as 0.98")
        self._check_origin()

    @property
    def entries(self) -> int:
        """Entries of a tokenizer that is trained."""
        return self.vocab or (1500 if self.corpus == "demo" else 8000)

    def _check_origin(self) -> None:
        """A model is continued, or made from a config, or made from family and size: one of the three."""
        scratch = [name for name in ("family", "size", "model_config") if getattr(self, name) is not None]
        if self.model is not None and scratch:
            raise SettingError(
                f"Pretrain: {scratch[0]!r} is for training from scratch, and 'model' names a checkpoint to continue "
                f"from ({self.model}); leave one of them out"
            )
        if self.model_config is not None and len(scratch) > 1:
            raise SettingError(f"Pretrain: 'model_config' says all about the model; leave {scratch[0]!r} out")
        if self.model is not None and self.tokenizer in TRAINED:
            raise SettingError(
                f"Pretrain: a {self.tokenizer} tokenizer trained now would not fit the embeddings of {self.model}; "
                "leave 'tokenizer' out, or train from scratch"
            )


def plain_share(curriculum: str) -> float:
    """The share of the steps, 0 to 1, that is plain training: of "none", "half" or a number."""
    named = {"none": 0.0, "half": 0.5}
    if curriculum.strip().lower() in named:
        return named[curriculum.strip().lower()]
    try:
        share = float(curriculum)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingError(
            f"Pretrain: setting 'curriculum' is {curriculum!r}; write none, half, or a share of the steps such as 0.3"
        )
    return share
