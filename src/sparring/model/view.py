"""ModelView: a Hugging Face model seen as one function, (batch, perturbation) -> logits of the scored rows.

The only code of ours that knows how Hugging Face models are built inside. Methods see nothing else of a model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.batch import Batch
from ..errors import ModelError
from ..settings import Size, multiple
from .packed import Way, find_way, packed_inputs
from .weights import settle

Site = Literal["word", "hidden"]
Dropout = Literal["fresh", "shared", "off_inner"]
Norm = Literal["l2", "linf"]


class ModelView:
    """The questions a method may ask of a model, and no others.

    site: where a perturbation is added. "word": to the output of the word-embedding table. "hidden": to the input of
        the first transformer layer, after position and type embeddings, LayerNorm and dropout.
    dropout: "fresh" draws new masks for every pass, "shared" replays the masks of a batch's first pass in all its
        passes, "off_inner" switches dropout off where only the inner player looks.
    """

    def __init__(self, model: nn.Module, *, site: Site = "word", dropout: Dropout = "fresh") -> None:
        self.model = model
        self.site, self.dropout = site, dropout
        self.training_forward: Callable[..., Any] = model
        """What outer passes call: the trainer puts its DDP or compiled wrapper here, so that gradients synchronise."""
        self.armed: Batch | None = None
        """Under DDP: the batch of which an outer pass went through the wrapper, which now waits for its backward."""
        self.passes = 0
        """Forward passes so far, of both players."""
        self.latest: Tensor | None = None
        """The perturbation (B, L, D) of the latest outer pass that had one, for measuring what the adversary does."""
        self.skipped: Tensor | None = None
        """(B,) bool, the latest batch's sentences whose perturbation was dropped because it was not finite."""
        self._embedding, self._first_layer, self._adapted = _parts(model)
        self._head = _head(model)
        self._delta: Tensor | None = None
        self._scored: Tensor | None = None
        self._in_pass, self._detached, self._calls = False, False, 0
        self._batch: Batch | None = None
        self._packed: dict[str, Any] = {}
        self._way: Way | Literal["unknown"] | None = "unknown"
        self._random_state: list[Tensor] | None = None
        self._mean_norm: float | None = None
        self._hooks = [self._install(site)]
        if self._head is not None:
            self._hooks.append(self._head.register_forward_pre_hook(self._keep_scored, with_kwargs=True))

    def remove(self) -> None:
        """Take the hooks out of the model again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    # what a method asks

    def logits(self, batch: Batch, delta: Tensor | None = None, *, detached: bool = False) -> Tensor:
        """Logits (N, C) of the scored rows with `delta` (B, L, D) added at the site: a pass of the outer player.

        detached: hold the activations that delta is added to constant, so that this pass does not train what is below.
        """
        self._detached = detached
        self.latest = self.latest if delta is None else delta.detach()
        try:
            return self._scored_logits(batch, self._pass(self._outer_forward(batch), batch, delta))
        finally:
            self._detached = False

    def probe(self, batch: Batch, delta: Tensor | None = None) -> Tensor:
        """As `logits`, for the inner player, who asks for no weight gradient: no gradient synchronisation is armed."""
        with evaluating(self.model) if self.dropout == "off_inner" else nullcontext():
            return self._scored_logits(batch, self._pass(self._inner_forward(), batch, delta))

    def reference(self, batch: Batch, clean: Tensor) -> Tensor:
        """What the inner player compares with: the clean logits, held constant.

        With dropout off in the inner passes the clean ones must be without dropout too (one more forward), or the
        inner player would climb the difference between masks.
        """
        if self.dropout != "off_inner":
            return clean.detach()
        with torch.no_grad():
            return self.probe(batch)

    def encode(self, batch: Batch, delta: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and one last-layer vector a sentence (B, H).

        The vector is that of the first token in encoders ([CLS]), and of the last real token in decoders.
        """
        self.latest = self.latest if delta is None else delta.detach()
        output = self._pass(self._outer_forward(batch), batch, delta, output_hidden_states=True)
        states = output.decoder_hidden_states if "decoder_hidden_states" in output else output.hidden_states
        return self._scored_logits(batch, output), _sentence_vectors(states[-1], batch, self.model)

    def finite(self, batch: Batch, x: Tensor) -> Tensor:
        """x (B, L, D) where something may be perturbed, and zero for every sentence that has a value not finite.

        One such value would poison every weight: the sentence is passed unperturbed, and counted in `skipped`.
        """
        finite = torch.isfinite(x.detach().sum(dim=(1, 2), keepdim=True))
        bad = ~finite.flatten()
        self.skipped = bad if self.skipped is None else self.skipped | bad
        return torch.where(finite & batch.perturbable.unsqueeze(-1), x, 0.0)

    def zeros(self, batch: Batch) -> Tensor:
        """A perturbation that does nothing (B, L, D), in float32 or wider whatever the model's dtype."""
        dtype = torch.promote_types(torch.float32, self._dtype())
        return torch.zeros(*batch.real.shape, self.width, device=batch.real.device, dtype=dtype)

    @property
    def packing(self) -> Way | None:
        """How the documents of a packed row (`Batch.segments`) are kept apart: see `packed.Way`.

        None: this architecture cannot keep them apart; tokens attend to the whole row, as in a batch without segments.
        Found out on the model itself when first asked for, or at the first packed batch.
        """
        if self._way == "unknown":
            with evaluating(self.model):
                self._way = find_way(self.model, self.vocabulary)
            settle(self.model)
        return self._way

    @property
    def width(self) -> int:
        """D: entries of a token's vector at the site. ALBERT's and ELECTRA's tables are narrower than their layers."""
        return int(self._embedding.embedding_dim) if self.site == "word" else self.hidden_width

    @property
    def hidden_width(self) -> int:
        """H: entries of a token's vector inside and after the layers."""
        config: Any = self.model.config
        return int(config.get_text_config().hidden_size)

    @property
    def vocabulary(self) -> int:
        """Rows of the word-embedding table."""
        return int(self._embedding.num_embeddings)

    def size(self, value: Size, norm: Norm = "l2") -> float:
        """A length as a number: 0.3 is itself, "0.3x" is 0.3 times the mean token norm at the site.

        In the max-norm the unit is mean norm / sqrt(D), so in both norms "0.3x" lets one token move by at most
        0.3 times the mean token norm. The mean is taken when first asked for, then kept, so a radius does not drift.
        """
        number, relative = multiple(value)
        if not relative or number == 0:
            return number
        return number * self.mean_norm() / (math.sqrt(self.width) if norm == "linf" else 1.0)

    def mean_norm(self) -> float:
        """Mean L2 norm of a token at the site: over the whole vocabulary at "word", over a sample at "hidden"."""
        if self._mean_norm is None:
            self._mean_norm = self._measure_norm()
        return self._mean_norm

    def set_mean_norm(self, norm: float) -> None:
        """Restore what `mean_norm` measured before training began, when a run is resumed."""
        self._mean_norm = norm

    # checks

    def check(self, batch: Batch) -> None:
        """Prove on a batch that the site is right: in eval mode a perturbation of zero changes no bit of the logits."""
        passes = self.passes
        with torch.no_grad(), evaluating(self.model):
            clean = self._pass(self._inner_forward(), batch, None).logits
            shifted = self._pass(self._inner_forward(), batch, self.zeros(batch)).logits
        self._batch = self.skipped = None
        self.passes = passes  # of training alone
        if not torch.equal(clean, shifted) and bool(clean.isfinite().all()):
            raise ModelError(
                f"{self._name()}: a perturbation of zero changed the logits by up to "
                f"{float((clean - shifted).abs().max()):.3g}; this model cannot be perturbed at site '{self.site}'"
            )

    def vanishing(self, delta_size: float, computed_in: torch.dtype | None = None) -> bool:
        """Would a perturbation with entries of this size round to nothing in the dtype of the embeddings, or in the one
        that the first layer computes in (`computed_in`, of autocast)?
        """
        half = [dtype for dtype in (self._dtype(), computed_in) if dtype in (torch.bfloat16, torch.float16)]
        typical = self.mean_norm() / math.sqrt(self.width)
        return any(delta_size < 0.5 * torch.finfo(dtype).eps * typical for dtype in half)

    # how it is done

    def _pass(self, forward: Callable[..., Any], batch: Batch, delta: Tensor | None, **extra: Any) -> Any:
        if self._batch is not batch:
            self._batch, self._random_state, self.skipped = batch, None, None
            way = None if batch.segments is None else self.packing
            self._packed = {} if way is None else packed_inputs(self.model, way, batch.segments)  # type: ignore[arg-type]
        if self.dropout == "shared" and self.model.training:
            self._replay_random_state(batch.real.device)
        if delta is not None:
            delta = self.finite(batch, delta)
        self.passes += 1
        self._delta, self._in_pass, self._calls = delta, True, 0
        self._scored = batch.scored if batch.scored.dim() == 2 and self._head is not None else None
        try:
            output = forward(**(batch.inputs | self._packed), **extra)
        finally:
            self._delta, self._scored, self._in_pass = None, None, False
        expected = len(self._row_copies())
        if self._calls != expected:
            raise ModelError(
                f"{self._name()}: the layer perturbed at site '{self.site}' ran {self._calls} times in one forward "
                f"pass, expected exactly {expected}; this architecture is not supported"
            )
        return output

    def _scored_logits(self, batch: Batch, output: Any) -> Tensor:
        logits = output.logits
        if batch.scored.dim() == 2 and self._head is not None:
            return logits  # the head was given the scored rows only
        return logits if logits.dim() == 2 and len(batch.targets) == len(batch) else logits[batch.scored]

    def _outer_forward(self, batch: Batch) -> Callable[..., Any]:
        # DDP's wrapper may be called once for each backward: it looks up there which parameters will get a gradient,
        # and a second, partly detached pass would overrule what it found in the first.
        if self.armed is batch:
            return self._inner_forward()
        self.armed = batch if torch.is_grad_enabled() else None
        return self.training_forward

    def _inner_forward(self) -> Callable[..., Any]:
        # Under DDP the inner passes use the module inside: its wrapper would wait for weight gradients that never come.
        return self.model if isinstance(self.training_forward, DistributedDataParallel) else self.training_forward

    def _replay_random_state(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        if self._random_state is None:
            self._random_state = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_gpu else [])]
            return
        torch.set_rng_state(self._random_state[0])
        if on_gpu:
            torch.cuda.set_rng_state(self._random_state[1], device)

    def _install(self, site: Site) -> Any:
        if site == "word":
            return self._embedding.register_forward_hook(lambda _, __, output: self._shift(output))
        if self._adapted:  # ALBERT runs one shared layer many times: take what feeds it
            return self._first_layer.register_forward_hook(lambda _, __, output: self._shift(output))
        return self._first_layer.register_forward_pre_hook(self._shift_input, with_kwargs=True)

    def _shift_input(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._shift(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self._shift(kwargs["hidden_states"])}

    def _shift(self, activations: Tensor) -> Tensor:
        delta = self._delta
        if not self._in_pass:
            # Activation checkpointing runs the layer again during backward, on the very tensor it saw before.
            delta = getattr(activations, "_perturbation", None)
        else:
            self._calls += 1
            copies = self._row_copies()
            if delta is not None and self._calls <= len(copies) and copies[self._calls - 1] > 1:
                delta = delta.repeat(copies[self._calls - 1], 1, 1)
            if delta is not None and not torch.compiler.is_compiling():
                activations._perturbation = delta  # type: ignore[attr-defined]
        if delta is None:
            return activations
        if activations.shape != delta.shape:
            raise ModelError(
                f"{self._name()}: activations at site '{self.site}' have shape {tuple(activations.shape)}, expected "
                f"{tuple(delta.shape)}; attention that unpads its input cannot be perturbed, load the model with "
                "attn_implementation='sdpa'"
            )
        if self._detached:
            activations = activations.detach()
        return (activations.to(delta.dtype) + delta).to(activations.dtype)  # the sum itself in float32 or wider

    def _keep_scored(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give the language-model head the scored rows only: (B, L, H) -> (N, H)."""
        return args if self._scored is None else (args[0][self._scored], *args[1:]), kwargs

    def _dtype(self) -> torch.dtype:
        return next(p.dtype for p in self._embedding.parameters())

    def _measure_norm(self) -> float:
        with torch.no_grad():
            if self.site == "word":
                weight = getattr(self._embedding, "base_layer", self._embedding).weight
                scale = getattr(self._embedding, "embed_scale", 1.0)  # Gemma and BART scale inside the embedding module
                norm = weight.float().norm(dim=-1).mean()
                norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
                return float(norm) * float(scale)
            device = next(self.model.parameters()).device
            ids = torch.linspace(0, self.vocabulary - 1, 256, device=device).long().reshape(16, 16)
            seen: list[Tensor] = []
            hook = self._probe_norm(seen)
            try:
                with evaluating(self.model):
                    _stack(self.model)(input_ids=ids, attention_mask=torch.ones_like(ids))
            finally:
                hook.remove()
                settle(self.model)
        return float(seen[0].float().norm(dim=-1).mean())

    def _probe_norm(self, seen: list[Tensor]) -> Any:
        if self._adapted:
            return self._first_layer.register_forward_hook(lambda _, __, output: seen.append(output))
        return self._first_layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )

    def _row_copies(self) -> tuple[int, ...]:
        """For each run of the embedding in one forward pass, how many copies of the batch it embeds, one after another.

        Most models embed each row once. One that asks itself several questions about a row says so in `row_copies`; the
        same perturbation is then added in all of them.
        """
        copies: tuple[int, ...] = getattr(self.model, "row_copies", (1,))
        return copies

    def _name(self) -> str:
        return type(self.model).__name__


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block (dropout off), then every module's own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """The layers of a model, lowest first; the encoder's of an encoder-decoder. ModelError when there are none."""
    for module in _stack(model).modules():
        if isinstance(module, nn.ModuleList) and len(module):
            return module
    raise ModelError(f"{type(model).__name__}: no list of transformer layers found; this architecture is not supported")


def _parts(model: nn.Module) -> tuple[Any, nn.Module, bool]:
    """The word-embedding module that really embeds the input, the first transformer layer, and whether the latter is
    ALBERT's mapping in front of its shared layers."""
    if getattr(model, "config", None) is None:
        raise ModelError(f"{type(model).__name__} is not a Hugging Face model: it has no config")
    stack = _stack(model)
    embedding = stack.get_input_embeddings()
    for name, module in stack.named_modules():
        if name.endswith("embedding_hidden_mapping_in"):
            return embedding, module, True
    return embedding, transformer_layers(model)[0], False


def _stack(model: nn.Module) -> Any:
    """The module that reads the input: the encoder of an encoder-decoder, else the model itself.

    In T5 and BART the model's own `get_input_embeddings()` is a shared table that never runs.
    """
    return model.get_encoder() if model.config.is_encoder_decoder else model  # type: ignore[union-attr, operator]


def _head(model: nn.Module) -> nn.Module | None:
    """The top-level module that holds a language model's output layer, or None for a classifier."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None  # type: ignore[operator]
    if output is None:
        return None
    return next((child for child in model.children() if any(m is output for m in child.modules())), None)


def _sentence_vectors(states: Tensor, batch: Batch, model: nn.Module) -> Tensor:
    if not (model.config.is_encoder_decoder or hasattr(model, "score")):  # type: ignore[union-attr]
        return states[:, 0]
    # Decoders (Hugging Face calls their classification layer `score`) have read the sentence only at its last token.
    last = batch.real.long().sum(1).clamp(min=1) - 1
    return states[torch.arange(len(states), device=states.device), last]
