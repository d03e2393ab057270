"""The words of an analysis: which are fitted to, which are held out, and probes of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..data.batch import make_key
from ..errors import DataError
from .activations import Activations, Progress
from .control import control_tags
from .corpus import Corpus
from .features import Features, Scale
from .options import Neurons
from .probe import Penalty, Probe, fit, path

STRONGEST = 10.0
"""The first penalty of the path, in multiples of the last."""


@dataclass(frozen=True)
class Words:
    """The words with a tag and activations, in the order of the corpus."""

    table: np.ndarray
    """(words of the corpus, D) float16."""
    rows: np.ndarray
    """(n,) their rows in the table."""
    words: list[str]
    sentence: np.ndarray
    """(n,) int64."""
    names: tuple[str, ...]
    """Tags, sorted."""
    tags: np.ndarray
    """(n,) int64."""
    control: np.ndarray
    """(n,) int64: tags of the control task."""
    test: np.ndarray
    """(n,) bool: held out."""
    scale: Scale

    @staticmethod
    def of(activations: Activations, corpus: Corpus, settings: Neurons) -> "Words":
        """Whole sentences are held out. DataError where none is left to fit to, or to hold out."""
        table, lost, names = activations.open(), set(activations.lost), tuple(sorted(corpus.counts))
        number = {name: place for place, name in enumerate(names)}
        places = (
            (s, word, tag)
            for s, one in enumerate(corpus.sentences)
            for word, tag in zip(one, corpus.tags[s], strict=True)
        )
        kept = [(row, *place) for row, place in enumerate(places) if place[2] is not None and row not in lost]
        rows, sentence = (np.array([one[part] for one in kept], dtype=np.int64) for part in (0, 1))
        tags = np.array([number[str(one[3])] for one in kept], dtype=np.int64)
        words = [one[2] for one in kept]
        used = np.unique(sentence)
        order = np.random.default_rng(make_key(settings.seed, "held-out sentences")).permutation(used)
        test = np.isin(sentence, order[: max(1, round(settings.held_out * len(used)))])
        if test.all():
            raise DataError(
                f"{corpus.origin} has {len(used)} sentences with tagged words that could be read; two or more are "
                "needed, some to fit the probe and some to hold out"
            )
        scale = Scale.of(table, rows[~test]) if settings.standardise else Scale.none(table.shape[1])
        control = control_tags(words, tags, settings.seed)
        return Words(table, rows, words, sentence, names, tags, control, test, scale)

    def part(self, *, test: bool, tags: np.ndarray | None = None, columns: np.ndarray | None = None) -> Features:
        """The words held out, or those to fit to; with other tags, or some neurons only."""
        chosen = self.test if test else ~self.test
        own = torch.from_numpy((self.tags if tags is None else tags)[chosen])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Features(self.table, self.rows[chosen], own, self.scale, columns, device)


@dataclass(frozen=True)
class Fitter:
    """Probes of these words, with the settings' penalty."""

    words: Words
    settings: Neurons
    progress: Progress | None = None

    @property
    def penalties(self) -> list[Penalty]:
        """Of the path, the strongest first."""
        own = self.settings
        factors = np.geomspace(STRONGEST, 1, own.path) if own.path > 1 else np.ones(1)
        return [Penalty(own.l1 * float(factor), own.l2 * float(factor), own.l2_norm) for factor in factors]

    def along(self, tags: np.ndarray, what: str) -> list[Probe]:
        """One probe of all neurons for each penalty of the path."""
        own, penalties = self.settings, self.penalties
        return path(
            self.words.part(test=False, tags=tags),
            len(self.words.names),
            penalties,
            passes=own.passes,
            tolerance=own.stop,
            progress=self._tick(what, own.passes * len(penalties)),
        )

    def some(self, columns: np.ndarray, start: Probe, what: str) -> np.ndarray:
        """(held-out words,) bool: which a probe fitted to some neurons (d,) is right about.

        start: a probe of all neurons to begin from.
        """
        own = self.settings
        begin = Probe(start.weight[torch.from_numpy(columns).to(start.weight.device)], start.bias)
        probe = fit(
            self.words.part(test=False, columns=columns),
            len(self.words.names),
            self.penalties[-1],
            start=begin,
            passes=own.passes,
            tolerance=own.stop,
            progress=self._tick(what, own.passes),
        )
        right: np.ndarray = probe.correct(self.words.part(test=True, columns=columns)).numpy()
        return right

    def _tick(self, what: str, total: int) -> Callable[[int], None] | None:
        report = self.progress
        return None if report is None else lambda done: report(done, total, what)
