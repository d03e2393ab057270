"""What must hold before a run starts: settings that go together, perturbations that do something."""

import warnings
from typing import TYPE_CHECKING

import torch

from ..data.batch import Batch
from ..errors import SettingError, SparringWarning
from ..methods.base import Method
from ..model.view import ModelView

if TYPE_CHECKING:
    from .trainer import AdversarialTrainer


def check_arguments(trainer: "AdversarialTrainer", perturb_special: bool) -> None:
    """Raise SettingError for Trainer arguments that the method cannot work with, with the way out."""
    args, method = trainer.args, trainer.method
    if not method.accumulates:
        if args.gradient_accumulation_steps > 1:
            raise SettingError(
                f"{method.name} cannot accumulate gradients: it updates the weights several times on the same batch; "
                f"set gradient_accumulation_steps=1 (it is {args.gradient_accumulation_steps}) and use a smaller batch"
            )
        if args.fp16:
            raise SettingError(
                f"{method.name} makes its own updates, which fp16's loss scaling cannot follow; use bf16"
            )
    if trainer.online is not None:
        trainer.online.term.check(method)
        if trainer.is_fsdp_enabled or trainer.is_distributed_loading_by_transformers:
            raise SettingError(
                "attacks on the training rows need the whole model on each process; FSDP is not supported"
            )
        rows, texts = len(trainer.train_dataset), len(trainer.online.examples.texts)
        if rows != texts:
            raise SettingError(
                f"online attacks {texts} texts, and the training set has {rows} rows; give the same ones"
            )
    trainer.curriculum.check(method)
    if trainer.keep_shards and not trainer.is_distributed_loading_by_transformers:
        raise SettingError(
            "keep_shards is for a model that transformers has sharded over the processes, and this one is whole; load "
            "it with distributed_config, or leave keep_shards out"
        )
    if trainer.stream is not None and args.max_steps <= 0:
        raise SettingError("a stream has no end: give max_steps, the number of optimiser steps")
    if args.n_gpu > 1:
        raise SettingError(
            "DataParallel is not supported; start one process a GPU with torchrun, or choose one GPU with "
            "CUDA_VISIBLE_DEVICES=0"
        )
    if trainer.is_deepspeed_enabled:
        raise SettingError("DeepSpeed is not supported; use DDP or FSDP")
    if trainer.compute_loss_func is not None:
        raise SettingError("compute_loss_func is not supported: the method computes the loss")
    checkpointing = args.activation_checkpointing_kwargs or {}
    if checkpointing.get("use_reentrant"):
        raise SettingError(
            "reentrant activation checkpointing cannot differentiate a perturbation; set use_reentrant=False"
        )
    if not perturb_special and not hasattr(trainer.processing_class, "all_special_ids"):
        raise SettingError("perturb_special=False needs the tokenizer: pass processing_class=tokenizer")


def warn_if_vanishing(method: Method, view: ModelView, batch: Batch, computed_in: torch.dtype | None = None) -> None:
    """Warn when the perturbation just applied rounds to nothing in the dtype of the embeddings it was added to, or in
    the one that autocast computes in.
    """
    delta = view.latest
    if delta is None or not bool(batch.perturbable.any()):
        return
    typical = float(delta[batch.perturbable].abs().mean())
    if typical and view.vanishing(typical):
        warnings.warn(
            f"{method.name}: a perturbation with entries of about {typical:.1g} rounds to nothing next to embeddings "
            "stored in half precision; load the model in float32 (and train with bf16=True, which keeps embeddings in "
            "float32) or use a larger radius",
            SparringWarning,
            stacklevel=3,
        )
    elif typical and view.vanishing(typical, computed_in):
        warnings.warn(
            f"{method.name}: a perturbation with entries of about {typical:.1g} rounds to nothing in half precision, "
            "which the layers behind the embeddings compute in; train in full precision (--precision fp32), or use a "
            "larger radius",
            SparringWarning,
            stacklevel=3,
        )
