"""Training the tokenizer of a model that starts from scratch: WordPiece as of BERT, byte-level BPE as of GPT-2.

The same corpus and settings give the same vocabulary, entry by entry.
"""

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ..errors import DataError, SettingError
from .corpus import Corpus

Kind = Literal["wordpiece", "bpe"]
Family = Literal["bert", "roberta", "gpt2"]
SPECIAL: dict[str, tuple[str, ...]] = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "gpt2": ("<|endoftext|>",),
}
"""Special tokens by family, in the order of their ids."""
FREQUENT = 2
"""How often a pair of pieces must occur in the text to become an entry."""
_CHARACTERS = 1000  # BERT's own vocabulary has about as many
_RUN = re.compile(r"\S{500,}")
_IDEOGRAPHS = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


def train_tokenizer(
    corpus: Corpus,
    *,
    size: int,
    kind: Kind = "wordpiece",
    family: Family | None = None,
    lower: bool = True,
    length: int | None = None,
    most_bytes: int = 1 << 28,
    progress: Callable[[int, int | None], None] | None = None,
) -> Any:
    """A fast transformers tokenizer with `size` entries, special tokens among them.

    family: whose special tokens and class it has; by default "bert" for wordpiece and "roberta" for bpe.
    lower: whether a WordPiece tokenizer ignores case (and accents); byte-level BPE always keeps both.
    length: the longest text the model will read, in tokens, as `model_max_length`.
    most_bytes: text that is looked at, from the beginning of the corpus; more changes a vocabulary little.
    progress: called now and then with the bytes read so far and how many there will be (None if unknown). WordPiece
        reads the text twice, or three times.

    A WordPiece vocabulary holds the most frequent characters, at most an eighth of its size and 1000, as themselves and
    within words, and more where words do not fill it; a word with another character becomes [UNK].

    Raises SettingError when the size is too small to hold the characters, or settings do not go together, and
    DataError when the corpus does not support so many entries: the message says how many there are.
    """
    family = family or ("bert" if kind == "wordpiece" else "roberta")
    if kind not in ("wordpiece", "bpe"):
        raise SettingError(f"tokenizer: {kind!r} is not known; use 'wordpiece' or 'bpe'")
    if family not in SPECIAL:
        raise SettingError(f"tokenizer: family {family!r} is not known; use 'bert', 'roberta' or 'gpt2'")
    if (kind == "wordpiece") != (family == "bert"):
        raise SettingError(
            f"a {family} tokenizer is not made of {kind}; use wordpiece for bert, bpe for roberta and gpt2"
        )
    text = _Text(corpus, most_bytes, 2 if kind == "wordpiece" else 1, progress)
    train = _wordpiece if kind == "wordpiece" else _bpe
    tokenizer = train(text, size, family, lower)
    if length is not None:
        tokenizer.model_max_length = length
    return tokenizer


class _Text:
    """The text to look at, several times over, with the progress of it all."""

    def __init__(
        self, corpus: Corpus, most: int, passes: int, progress: Callable[[int, int | None], None] | None
    ) -> None:
        self.origin, self._corpus, self._most, self._progress = corpus.origin, corpus, most, progress
        self._total = None if corpus.size is None else min(corpus.size, most) * passes
        self._before = 0

    def read(self) -> Iterator[str]:
        """The documents of the first so many bytes; runs without white space are cut, as they would become one word."""
        held = 0
        for number, text in enumerate(self._corpus.reader()):
            yield _RUN.sub(lambda run: re.sub(r"(.{500})", r"\1 ", run[0]), text)
            held += len(text)
            if self._progress is not None and number % 1000 == 0:
                self._progress(self._before + held, self._total)
            if held >= self._most:
                break
        self._before += held
        if self._progress is not None:
            self._progress(self._before, self._total)


def _wordpiece(text: _Text, size: int, family: str, lower: bool) -> Any:
    from tokenizers import trainers
    from transformers import BertTokenizer

    normalizer = BertTokenizer(do_lower_case=lower).backend_tokenizer.normalizer
    counts: Counter[str] = Counter()
    for document in text.read():
        counts.update(normalizer.normalize_str(document))
    every = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    most = min(_CHARACTERS, max(1, size // 8), len(every))

    def entries() -> list[str]:
        # Given in this order: the trainer would number those within words as it meets them, each time differently.
        characters = sorted(every[:most])
        return [*SPECIAL[family], *characters, *(f"##{c}" for c in characters if _joins(c))]

    def trained(known: list[str]) -> dict[str, int]:
        trainer = trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=FREQUENT, special_tokens=known, limit_alphabet=0, show_progress=False
        )
        backend = BertTokenizer(do_lower_case=lower).backend_tokenizer  # anew: one that was trained merges nothing
        backend.train_from_iterator(text.read(), trainer)
        return dict(json.loads(backend.to_str())["model"]["vocab"])

    known = entries()
    _check_room(size, len(known), f"{len(SPECIAL[family])} special tokens and {most} characters, twice")
    vocabulary = trained(known)
    if len(vocabulary) < size and most < len(every):  # as of text in ideographs, each of which is a word: all that fit
        room = len(known) + size - len(vocabulary)
        while most < len(every) and len(entries()) < room:
            most += 1
        vocabulary = trained(entries()[:room])
    _check_full(text.origin, size, len(vocabulary))
    return BertTokenizer(vocab=vocabulary, do_lower_case=lower)


def _bpe(text: _Text, size: int, family: str, lower: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import GPT2Tokenizer, RobertaTokenizer

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _check_room(size, len(SPECIAL[family]) + len(alphabet), "special tokens and 256 bytes")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=FREQUENT,
        special_tokens=list(SPECIAL[family]),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(text.read(), trainer)
    model = json.loads(backend.to_str())["model"]
    _check_full(text.origin, size, len(model["vocab"]))
    merges = [tuple(pair) for pair in model["merges"]]
    return (RobertaTokenizer if family == "roberta" else GPT2Tokenizer)(vocab=model["vocab"], merges=merges)


def _joins(character: str) -> bool:
    """Whether a character can follow another within a word, as BERT cuts text."""
    if character in string.punctuation or unicodedata.category(character).startswith("P"):
        return False
    return not any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def _check_room(size: int, least: int, what: str) -> None:
    if size <= least:
        raise SettingError(f"vocab: {size} entries have no room for words: {what} take {least}; use more")


def _check_full(origin: str, size: int, found: int) -> None:
    if found < size:
        raise DataError(
            f"{origin}: a vocabulary of {size:,} entries was asked for, and the text supports {found:,} "
            f"(pieces that occur at least {FREQUENT} times). Use a vocabulary of {found:,} or fewer, or more text."
        )
