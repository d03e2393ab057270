"""Other words with the same meaning: neighbours in a vector space, or WordNet's synonyms."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from ...errors import ModelError, SettingError
from ..engine import Ask, Search
from ..resources import MANIFEST, available, find
from ..text import Text, in_case_of
from ..vectors import Neighbours
from ..wordnet import WordNet
from . import Transform

if TYPE_CHECKING:
    from ..victim import Victim

STANDS_IN = "stands in for counter-fitted vectors"
_tables: "WeakKeyDictionary[Any, Neighbours]" = WeakKeyDictionary()


class NeighbourSwap:
    """A word becomes one of its k nearest neighbours, the nearest first. Looked up in lower case; case is restored.

    neighbours: None for those in the victim's own word-embedding table, once bound to it.
    """

    def __init__(self, neighbours: Neighbours | None, k: int = 50, name: str | None = None) -> None:
        self.neighbours, self.k = neighbours, k
        whose = f"the victim's embedding table ({STANDS_IN})" if neighbours is None else neighbours.name
        self.name = name or f"synonyms: {k} neighbours in {whose}"

    @property
    def identity(self) -> str:
        """Of what the neighbours are: a file keeps its name when its content changes."""
        return "" if self.neighbours is None else self.neighbours.digest

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Asks for the neighbours when they are not known yet: those of many words at once are cheaper."""
        if self.neighbours is None:
            raise ModelError("synonyms from the victim's embedding table need a victim: use `bound(victim)` first")
        word = text.slots[index]
        if not self.neighbours.ready(word, self.k):
            yield Ask(self.neighbours, [(word.lower(), self.k)])
        return _swapped(text, index, (new for new, _ in self.neighbours.near(word, self.k)))

    def bound(self, victim: "Victim") -> Self:
        """With the victim's table where no other was given. ModelError for a victim without one."""
        if self.neighbours is not None:
            return self
        return type(self)(victim_neighbours(victim), self.k, self.name)


class WordNetSwap:
    """A word becomes one of its synonyms in WordNet, of all parts of speech, in WordNet's order."""

    def __init__(self, wordnet: WordNet, name: str | None = None) -> None:
        self.wordnet = wordnet
        self.name = name or f"synonyms: {wordnet.version}"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Single words; the case of the one replaced is restored."""
        return _swapped(text, index, self.wordnet.synonyms(text.slots[index]))
        yield

    def bound(self, victim: "Victim") -> Self:
        """Needs nothing of it."""
        return self


def synonyms(source: str | Path = "auto", k: int = 50) -> Transform:
    """A source of synonyms.

    source: "counterfitted" (the resource), "wordnet", "minilm" (the embedding table of the packaged MiniLM), "victim"
    (the victim's own), a file of word vectors or a table of neighbours, or "auto": counter-fitted ones if they are
    here, else MiniLM's table, else the victim's, whose names in the results say that they stand in. k: most neighbours
    of a word.
    DataError when a resource is missing or damaged, SettingError for an unknown source.
    """
    if k < 1:
        raise SettingError(f"synonyms: k is {k}; it must be at least 1")
    if source == "auto":
        source = "counterfitted" if available("counterfitted") else "minilm" if _minilm_is_here() else "victim"
    if source == "counterfitted":
        return NeighbourSwap(counterfitted(), k)
    if source == "wordnet":
        return WordNetSwap(WordNet(find("wordnet")))
    if source == "minilm":
        neighbours = minilm_neighbours()
        return NeighbourSwap(neighbours, k, f"synonyms: {k} neighbours in {neighbours.name} ({STANDS_IN})")
    if source == "victim":
        return NeighbourSwap(None, k)
    path = Path(source).expanduser()
    if not path.is_file():
        raise SettingError(
            f"there is no source of synonyms {str(source)!r}; known: auto, counterfitted, wordnet, minilm, victim, or "
            "a file of word vectors (text, word2vec, npz) or of neighbours (json)"
        )
    return NeighbourSwap(Neighbours.read(path), k)


def counterfitted() -> Neighbours:
    """The resource `counterfitted`, named after the file that it was made from."""
    path = find("counterfitted")
    source = json.loads(path.with_name(MANIFEST).read_text(encoding="utf-8")).get("source", "an unknown file")
    return Neighbours.read(path, f"counter-fitted neighbours ({source})")


def _minilm_is_here() -> bool:
    from ...model.load import minilm_folder

    try:
        return minilm_folder().is_dir()
    except ModelError:
        return False


def minilm_neighbours() -> Neighbours:
    """The word-embedding table of the packaged MiniLM; ModelError when the package is not installed."""
    from safetensors import safe_open

    from ...model.load import MINILM, load_tokenizer, minilm_folder

    with safe_open(minilm_folder() / "model.safetensors", framework="np") as weights:
        (key,) = (key for key in weights.keys() if key.endswith("word_embeddings.weight"))  # noqa: SIM118
        matrix = weights.get_tensor(key)
    return Neighbours.from_embedding("MiniLM's embedding table", matrix, load_tokenizer(MINILM))


def victim_neighbours(victim: Any) -> Neighbours:
    """The word-embedding table of a victim that is a model with a tokenizer; made once a victim."""
    model, tokenizer = getattr(victim, "model", None), getattr(victim, "tokenizer", None)
    if model is None or tokenizer is None:
        raise ModelError(
            f"a {type(victim).__name__} shows no embedding table; take other synonyms: counterfitted, wordnet, minilm, "
            "or a file of word vectors"
        )
    if victim not in _tables:
        matrix = model.get_input_embeddings().weight.detach().float().cpu().numpy()
        _tables[victim] = Neighbours.from_embedding("the victim's embedding table", matrix, tokenizer)
    return _tables[victim]


def _swapped(text: Text, index: int, words: Iterable[str]) -> list[Text]:
    old = text.slots[index]
    cased = dict.fromkeys(in_case_of(new, old) for new in words)
    return [text.replace(index, new) for new in cased if new.lower() != old.lower()]
