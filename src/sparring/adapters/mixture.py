"""AdapterMixture: AdpMixup's model (Nguyen & Le, EMNLP 2024), whose adapters are mixed for each example.

Prediction for one example x, with one clean adapter and one a known attack:

    1. H_k  = entropy of softmax(f(x; theta_0, adapter k))           all adapters side by side in a batched forward
    2. beta = gate(H)                                                see gates.py: the published formula is not known
    3. f(x; theta_0, 1/m sum_i [ beta_i clean + (1 - beta_i) adversarial_i ])        a second forward

It costs m + 2 plain forwards. The gate is computed anew for every query, and gradients flow through it, so that an
attacker meets the whole defence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.pipelines.base import SUPPORTED_PEFT_TASKS
from transformers.pytorch_utils import Conv1D

from ..errors import ModelError, SettingError
from ..objective import wide
from .adapter import Adapter, put_head
from .base import Base, digest, head_modules, head_of
from .bottleneck import Bottleneck
from .gates import Calibration, Gate, adapter_weights, coefficients, entropy
from .lora import LinearStack, LoraStack
from .rows import Rows, Stack, running
from .shape import AdapterShape

AT_ONCE = 3
"""Adapters in one forward on a processor: more copies of a batch fall out of its caches, and cost more than a share."""

Space = Literal["updates", "parameters"]
HeadPolicy = Literal["shared", "mixed"]
Combine = Literal["mixup", "logits", "vote"]

for _names in (SUPPORTED_PEFT_TASKS["text-classification"], SUPPORTED_PEFT_TASKS["sentiment-analysis"]):
    _names.append("AdapterMixture")  # pipelines know models by name, and complain about others


@dataclass
class MixtureOutput(SequenceClassifierOutput):  # type: ignore[misc]
    """What a mixture answers to B rows with its K = m + 1 adapters."""

    mixing: Tensor | None = None
    """(B, m) in [0, 1], the share of the clean adapter against each attack; a small one: this input resembles that
    attack. None without the mixup."""
    weights: Tensor | None = None
    """(B, K) what each adapter weighs, clean first."""
    adapter_logits: Tensor | None = None
    """(B, K, C) what each adapter says alone."""
    entropies: Tensor | None = None
    """(B, K) of their predictions, in nats."""


class AdapterMixture(nn.Module):
    """A classifier of frozen base, one clean adapter and m adversarial ones.

    base: a sequence classifier; the mixture takes it over, and changes its layers. adapters: by name, the clean one
        first, all of one shape. gate: entropies to weights. calibration: of the gate minmax_ratio.
    space: what is mixed. "updates" (default for LoRA) is exact, W0 + sum_k w_k B_k A_k; "parameters" (all that
        bottlenecks can) mixes the tensors themselves, with cross terms. Which of them the paper mixes is not known.
    head: "shared" is one frozen head for all: that of the adapters that hold one, else that of the base. "mixed" mixes
        the heads of the adapters with the same weights.
    combine: "mixup" is the method; its baselines are "logits", the mean of the adapters' logits, and "vote", the log of
        their shares of votes, where the clean adapter decides a draw. A vote is hard: its gradient is zero.

    A mixture is not trained further: it stays in eval mode, as dropout would add to the entropies.
    Raises ModelError for adapters that do not fit each other or the base.
    """

    def __init__(
        self,
        base: nn.Module,
        adapters: Mapping[str, Adapter],
        *,
        gate: Gate | None = None,
        calibration: Calibration | None = None,
        space: Space | None = None,
        head: HeadPolicy = "shared",
        combine: Combine = "mixup",
        reference: Base | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(adapters)
        self.shape = _checked(base, adapters)
        self.reference = reference or Base.of(base)
        self.attacks = {name: adapter.attack for name, adapter in adapters.items()}
        _check_base(self.reference, adapters)
        self.gate, self.calibration = gate or Gate(), calibration
        self.space: Space = space or ("updates" if self.shape.kind == "lora" else "parameters")
        self.head: HeadPolicy = head
        self.combine: Combine = combine
        if self.space == "updates" and self.shape.kind != "lora":
            raise SettingError(
                "bottleneck adapters are not linear and have no updates to mix; choose space='parameters'"
            )
        self.base = base
        given = list(adapters.values())
        _put_heads(base, given, self.names, head)
        _put_adapters(base, given)
        self.requires_grad_(False)
        self.train(False)

    # what it looks like from outside: a Hugging Face classifier

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **more: Any,
    ) -> Any:
        """Forward passes of the base over B (m + 1) rows in all, then one over B rows; the baselines spare the latter.

        Arguments are those of the base, the result is a `MixtureOutput`. A row that one adapter has alone gets that
        adapter's logits of the first passes, so that the coefficients 0 and 1 are the adapters themselves, bit for bit.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **more}
        inputs = {name: x for name, x in given.items() if x is not None}
        alone = self.adapter_logits(**inputs)
        entropies = entropy(alone)
        found: dict[str, Any] = {"adapter_logits": alone, "entropies": entropies}
        if self.combine == "mixup":
            beta = coefficients(entropies, self.gate, self.calibration)
            weights = adapter_weights(beta, entropies, self.gate)
            shown = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
            output = self.mixed(weights, **inputs, **{name: x for name, x in shown.items() if x is not None})
            chosen = alone[torch.arange(len(alone), device=alone.device), weights.argmax(1)]
            logits = torch.where((weights == 1).any(1, keepdim=True), chosen, output.logits)
            found |= {"mixing": beta, "weights": weights}
            found |= {name: output.get(name) for name in ("hidden_states", "attentions")}
        else:
            logits = alone.mean(1) if self.combine == "logits" else _votes(alone)
        loss = None if labels is None else nn.functional.cross_entropy(wide(logits), labels)
        answer: Any = MixtureOutput(loss=loss, logits=logits, **found)
        return answer if return_dict is None or return_dict else answer.to_tuple()

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, base: str | None = None) -> "AdapterMixture":
        """The mixture in a folder. base: where its base model is now, if that has moved. See `folder.load_mixture`."""
        from .folder import load_mixture

        return load_mixture(Path(folder), base=base)[0]

    def save_pretrained(self, folder: Path | str, tokenizer: Any = None) -> None:
        """Write the mixture to a folder. See `folder.save_mixture`."""
        from .folder import save_mixture

        save_mixture(self, Path(folder), tokenizer)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: a mixture is not trained, and dropout would inflate the entropies."""
        return super().train(False)

    @property
    def config(self) -> Any:
        """That of the base."""
        return self.base.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def row_copies(self) -> tuple[int, ...]:
        """How often each row is embedded, in each run of the embedding within one forward: `ModelView` must know."""
        copies = tuple(len(piece) for piece in self._pieces())
        return (*copies, 1) if self.combine == "mixup" else copies

    input_modalities = ("text",)

    def can_generate(self) -> bool:
        """False: it is a classifier."""
        return False

    def get_input_embeddings(self) -> nn.Module:
        """The word-embedding table of the base."""
        found: nn.Module = self.base.get_input_embeddings()  # type: ignore[operator]
        return found

    def get_encoder(self) -> nn.Module:
        """The encoder of a base that is an encoder-decoder."""
        found: nn.Module = self.base.get_encoder()  # type: ignore[operator]
        return found

    # what it is made of

    def adapter_logits(self, **inputs: Any) -> Tensor:
        """(B, K, C) logits of all adapters alone: K blocks of rows, one block an adapter."""
        rows, found = _length(inputs), []
        for piece in self._pieces():
            k = len(piece)
            blocks = {
                name: x.repeat(k, *[1] * (x.dim() - 1)) if isinstance(x, Tensor) and x.dim() and len(x) == rows else x
                for name, x in inputs.items()
            }
            with running(Rows(k * rows, blocks=slice(piece.start, piece.stop))):
                found.append(self.base(**blocks).logits.reshape(k, rows, -1))
        return torch.cat(found).transpose(0, 1)

    def _pieces(self) -> list[range]:
        """Numbers of the adapters that one forward evaluates: all of them on a GPU, a few at a time on a processor."""
        k = len(self.names)
        pieces = -(-k // AT_ONCE) if self.device.type == "cpu" else 1
        bounds = [k * i // pieces for i in range(pieces + 1)]
        return [range(first, end) for first, end in pairwise(bounds)]

    def mixed(self, weights: Tensor, **inputs: Any) -> Any:
        """The base's output with each row's own mixture: weights (B, K), what each adapter weighs there."""
        with running(Rows(len(weights), weights, parameters=self.space == "parameters")):
            return self.base(**inputs)

    def adapter(self, name: str) -> Adapter:
        """A copy of one adapter, with its head under the policy "mixed"."""
        k = self.names.index(name)
        tensors: dict[str, Tensor] = {}
        head: dict[str, Tensor] = {}
        for site, stack in self.stacks().items():
            part = {f"{site}.{key}": value[k].detach().clone() for key, value in stack.own().items()}
            (head if isinstance(stack, LinearStack) else tensors).update(part)
        return Adapter(self.shape, tensors, head or None, self.reference, self.attacks[name])

    def stacks(self) -> dict[str, Stack]:
        """The adapted layers, by the name they have in the base."""
        return {name: module for name, module in self.base.named_modules() if isinstance(module, Stack)}

    def digest(self) -> str:
        """The hash of the base's weights as they are now; they never change."""
        return digest(self.base)


def _checked(base: nn.Module, adapters: Mapping[str, Adapter]) -> AdapterShape:
    """The shape that all adapters have, when the model is one that they can be put into."""
    if not adapters:
        raise ModelError("a mixture needs at least one adapter, the clean one")
    if getattr(base, "config", None) is None or int(base.config.num_labels) < 2:  # type: ignore[union-attr, arg-type]
        raise ModelError(f"{type(base).__name__} is no classifier of two or more classes; entropies need one")
    if any(isinstance(module, Stack) for module in base.modules()) or hasattr(base, "peft_config"):
        raise ModelError(f"{type(base).__name__} holds adapters already; give the plain base model")
    first_name, first = next(iter(adapters.items()))
    for name, adapter in adapters.items():
        misfit = first.misfit(adapter)
        if misfit:
            raise ModelError(f"the adapters {first_name!r} and {name!r} cannot be mixed: {misfit}")
    return first.shape


def _check_base(reference: Base, adapters: Mapping[str, Adapter]) -> None:
    for name, adapter in adapters.items():
        if adapter.base is not None and adapter.base.sha256 != reference.sha256:
            raise ModelError(
                f"the adapter {name!r} was trained on another base model ({adapter.base.name}, hash "
                f"{adapter.base.sha256[:16]}) than this one ({reference.name}, hash {reference.sha256[:16]})"
            )


def _put_heads(base: nn.Module, adapters: list[Adapter], names: Sequence[str], policy: HeadPolicy) -> None:
    own = {name: base.get_parameter(name).detach().clone() for name in head_of(base)}
    heads = {name: adapter.head for name, adapter in zip(names, adapters, strict=True) if adapter.head is not None}
    for head in heads.values():
        put_head(base, head)  # checks that it fits
    if policy == "shared":
        first = next(iter(heads), None)
        for name, head in heads.items():
            if any(not torch.equal(head[part], heads[str(first)][part]) for part in head):
                raise ModelError(
                    f"the adapters {first!r} and {name!r} have different heads; mix them with head='mixed', or train "
                    "the adversarial adapters with the clean adapter's head frozen"
                )
        return
    stacked = [heads.get(name, own) for name in names]
    for child in head_modules(base):
        for place, module in list(base.get_submodule(child).named_modules(prefix=child)):
            parameters = dict(module.named_parameters(recurse=False))
            if parameters and type(module) is not nn.Linear:
                raise ModelError(
                    f"the head of {type(base).__name__} holds a {type(module).__name__} ({place}), and only linear "
                    "layers can be mixed; choose head='shared'"
                )
            if parameters:
                values = {name: torch.stack([h[f"{place}.{name}"] for h in stacked]) for name in parameters}
                base.set_submodule(place, LinearStack(module, **{n: x.to(module.weight) for n, x in values.items()}))


def _put_adapters(base: nn.Module, adapters: list[Adapter]) -> None:
    shape = adapters[0].shape
    by_site = [adapter.sites for adapter in adapters]
    for site in by_site[0]:
        try:
            inner: Any = base.get_submodule(site)
        except AttributeError as error:
            raise ModelError(f"{type(base).__name__} has no layer {site}, which the adapters change") from error
        like = next(inner.parameters())
        stacked = {name: torch.stack([sites[site][name] for sites in by_site]).to(like) for name in by_site[0][site]}
        layer = inner if shape.kind == "lora" else inner.dense
        sizes = _sizes(layer)
        wanted = (stacked["b"].shape[1], stacked["a"].shape[2]) if shape.kind == "lora" else stacked["up"].shape[1:2]
        if sizes[: len(wanted)] != tuple(wanted):
            raise ModelError(f"{site} of {type(base).__name__} is of size {sizes}, the adapters are made for {wanted}")
        made = (
            LoraStack(inner, shape.scaling, **stacked)
            if shape.kind == "lora"
            else (Bottleneck(inner, shape.kind, **stacked))
        )
        base.set_submodule(site, made)


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a linear layer. Raises ModelError for any other."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, Conv1D):  # GPT-2's linear layer, with the weight the other way round
        return int(layer.weight.shape[1]), int(layer.weight.shape[0])
    raise ModelError(f"a LoRA adapter of a {type(layer).__name__} cannot be mixed; train it on linear layers")


def _votes(alone: Tensor) -> Tensor:
    """(B, C) log shares of the votes of adapters (B, K, C). A class without a vote keeps a share of 1e-6.

    The clean adapter's vote is worth a thousandth more: it decides a draw, and never overturns a majority. Of equal
    classes that are not its own the first is taken, as argmax does.
    """
    ballots = nn.functional.one_hot(alone.argmax(-1), alone.shape[-1]).to(wide(alone).dtype)
    counts = ballots.sum(1) + 1e-3 * ballots[:, 0] + 1e-6
    return (counts / counts.sum(1, keepdim=True)).log() + 0.0 * alone.sum(1)  # attackers find a gradient, of zero


def _length(inputs: Mapping[str, Any]) -> int:
    for name in ("input_ids", "inputs_embeds"):
        if inputs.get(name) is not None:
            return len(inputs[name])
    raise ModelError("a mixture needs input_ids or inputs_embeds")
