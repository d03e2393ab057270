"""Settings of the analysis of neurons."""

from dataclasses import dataclass
from typing import Literal

from ..errors import SettingError
from ..settings import setting, validate

Aggregation = Literal["last", "first", "average"]
Long = Literal["cut", "skip"]
L2Norm = Literal["squared", "unsquared"]


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """Which words, which probe, and what counts as enough. Two models are compared under the same settings."""

    corpus: str = setting("", "token-labelled corpus: CoNLL-U, or columns with a word a line")
    column: str = setting("upos", "tags: upos, xpos, deprel, feats:NAME, misc:NAME, or a column's number from 1")
    word_column: int = setting(1, "column of the words, where columns have numbers", low=1)
    words: int = setting(20_000, "tagged words: sentences are drawn until there are so many; 0: all", low=0)
    min_count: int = setting(20, "words that a tag must have, or it is left out", low=1)
    max_tags: int | None = setting(None, "use the most frequent tags only", low=2)
    aggregation: Aggregation = setting("last", "a word's activation: that of its last or first token, or their average")
    long: Long = setting("cut", "sentences that are too long: cut between words, or skip")
    max_length: int = setting(512, "longest sentence, in tokens", low=8)
    batch_size: int = setting(32, "sentences in a batch; changes nothing but speed and memory", low=1)
    standardise: bool = setting(True, "give every neuron mean 0 and deviation 1 on the words of the probe")
    l1: float = setting(0.001, "weight of the sum of absolute probe weights", low=0)
    l2: float = setting(0.001, "weight of the probe weights' L2 norm", low=0)
    l2_norm: L2Norm = setting("squared", "L2 norm: squared, as in the elastic net, or unsquared, as NeuroX computes it")
    path: int = setting(3, "penalties from 10 times l1 and l2 down to them, each begun from the one before", low=1)
    passes: int = setting(500, "most passes over the words of one probe", low=2)
    stop: float = setting(0.001, "a probe is done when ten passes lower its loss by less than this share", low=0)
    held_out: float = setting(0.25, "share of the sentences that accuracies are measured on", above=0, high=0.9)
    tolerance: float = setting(0.01, "accuracy that the minimal neuron set may lack, as a share", low=0, high=1)
    top: int = setting(20, "neurons that are shown with their words", low=0)
    top_words: int = setting(10, "words shown for each", low=0)
    seed: int = setting(0, "of the choice of sentences, the control task and the bootstrap", low=0)

    def __post_init__(self) -> None:
        validate(self)
        if not self.column.strip():
            raise SettingError("Neurons: setting 'column' is empty; name the tags, such as upos")
