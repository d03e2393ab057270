"""Words and their nearest neighbours: from vectors of any file format, an embedding table, or a table of neighbours."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import UNREADABLE, DataError, SettingError
from .text import WORD

BLOCK = 256
"""Rows in one matrix product: wide enough for full speed, 100 MB of cosines for 100,000 words."""
SLACK = 1e-5
"""Float32 products differ by less from exact ones; whatever is this close to the last neighbour is computed exactly."""
DEPTH = 50
"""Neighbours that are found for a word at least: no published attack asks for more."""
MOST = 100_000
"""Words read from a file of vectors; files begin with the frequent ones, and time grows with the square."""
WIDEST = 65_536
Near = list[tuple[str, float | None]]


class Neighbours:
    """The words nearest to a word by the cosine of their vectors. Looked up without regard to case.

    Either `vectors` are there, and neighbours are found when a word is first asked for; or a `table` is, with its
    cosines or without; or both. It is a service too: `answer([(word, k), ...])`, much cheaper for many words at once.

    name: for results. words: (V,) lower-cased. vectors: (V, D) float32 rows of length 1. table: (V, K) numbers of
    words, the nearest first, -1 where there are no more. cosines: (V, K).
    """

    remembered = False  # found rows are kept here

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        vectors: np.ndarray | None = None,
        table: np.ndarray | None = None,
        cosines: np.ndarray | None = None,
    ) -> None:
        if vectors is None and table is None:
            raise SettingError("neighbours need vectors or a table")
        self.name, self.words = name, tuple(words)
        self.vectors, self.table, self.cosines = vectors, table, cosines
        self._number = {word: i for i, word in enumerate(self.words)}
        self._found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @classmethod
    def from_vectors(cls, name: str, words: Sequence[str], vectors: np.ndarray) -> "Neighbours":
        """Of (V,) words and (V, D) vectors.

        Left out: what is no word (punctuation, several words), vectors of zeros, and spellings in capitals where the
        lower-case one is there; of equal words the first stays. DataError when a number is not finite.
        """
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise DataError(f"{name}: the vector of {words[bad[0]]!r} has a number that is not finite")
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        chosen: dict[str, int] = {}
        for number in sorted(range(len(words)), key=lambda i: (words[i] != words[i].lower(), i)):
            if lengths[number] > 0 and is_word(words[number]):
                chosen.setdefault(words[number].lower(), number)
        if not chosen:
            raise DataError(f"{name} has no vector of a word")
        rows = sorted(chosen.values())
        unit = (vectors[rows] / lengths[rows, None]).astype(np.float32)
        return cls(name, [words[row].lower() for row in rows], vectors=unit)

    @classmethod
    def from_table(cls, name: str, table: Mapping[str, Iterable[Any]]) -> "Neighbours":
        """Of a dict from a word to its neighbours, the nearest first: words, or [word, cosine] pairs.

        Entries that are no word, and a word among its own neighbours, are left out. DataError for anything else.
        """
        rows: dict[str, dict[str, float]] = {}
        for word, near in table.items():
            pairs = [_pair(name, word, entry) for entry in near] if isinstance(near, list | tuple) else None
            if pairs is None:
                raise DataError(f"{name}: the neighbours of {word!r:.80} are not a list")
            if is_word(word) and word.lower() not in rows:
                row = rows[word.lower()] = {}
                for other, cosine in pairs:
                    if is_word(other) and other.lower() != word.lower():
                        row.setdefault(other.lower(), cosine)
        words = list(dict.fromkeys([*rows, *(other for row in rows.values() for other in row)]))
        if not rows:
            raise DataError(f"{name} has no word")
        number = {word: i for i, word in enumerate(words)}
        width = max(map(len, rows.values()))
        ids = np.full((len(words), width), -1, dtype=np.int32)
        cosines = np.full((len(words), width), np.nan, dtype=np.float32)
        for i, row in enumerate(rows.values()):
            ids[i, : len(row)] = [number[other] for other in row]
            cosines[i, : len(row)] = list(row.values())
        given = cosines[ids >= 0]
        return cls(name, words, table=ids, cosines=cosines if len(given) and not np.isnan(given).any() else None)

    @classmethod
    def from_embedding(cls, name: str, matrix: np.ndarray, tokenizer: Any) -> "Neighbours":
        """Of a model's (V, D) embedding table: the pieces that are whole words of letters."""
        pieces = {word: number for word, number in whole_words(tokenizer).items() if number < len(matrix)}
        return cls.from_vectors(name, list(pieces), matrix[list(pieces.values())].astype(np.float32))

    @classmethod
    def read(cls, path: Path, name: str | None = None, **settings: Any) -> "Neighbours":
        """Of a file: a .json table, an .npz, or vectors as text or word2vec. settings: of `read_vectors`."""
        name = name or path.name
        try:
            if path.suffix == ".json":
                table = json.loads(path.read_bytes())
                if not isinstance(table, dict):
                    raise DataError(
                        f"{path} is no table of neighbours: it holds a {type(table).__name__}, not an object"
                    )
                return cls.from_table(name, table)
            if path.suffix == ".npz" and _is_ours(path):
                return cls._load(path, name)
        except (KeyError, *UNREADABLE) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        return cls.from_vectors(name, *read_vectors(path, **settings))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex, 16 digits) over words, vectors and table."""
        found = hashlib.sha256("\n".join(self.words).encode("utf-8", "surrogatepass"))
        for array in (self.vectors, self.table, self.cosines):
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    @property
    def knows_cosines(self) -> bool:
        """Whether `cosine` ever answers."""
        return self.vectors is not None or self.cosines is not None

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._number

    def __len__(self) -> int:
        return len(self.words)

    def near(self, word: str, k: int) -> Near:
        """Up to k (word, cosine) pairs, the nearest first; empty for an unknown word, None for an unknown cosine."""
        row = self._number.get(word.lower())
        if row is None:
            return []
        self._find([row], k)
        ids, cosines = self._row(row, k)
        return [(self.words[i], None if c != c else float(c)) for i, c in zip(ids.tolist(), cosines, strict=True)]

    def answer(self, items: Sequence[tuple[str, int]]) -> list[Near]:
        """`near` of many (word, k)."""
        rows = [self._number[word.lower()] for word, _ in items if word.lower() in self._number]
        if rows:
            self._find(rows, max(k for _, k in items))
        return [self.near(word, k) for word, k in items]

    def ready(self, word: str, k: int) -> bool:
        """Whether `near` is a mere look-up."""
        row = self._number.get(word.lower())
        return row is None or self._has(row, k)

    def cosine(self, a: str, b: str) -> float | None:
        """Of the vectors of two words; None when one is unknown, or only neighbours are known and they are none."""
        first, second = self._number.get(a.lower()), self._number.get(b.lower())
        if first is None or second is None:
            return None
        if first == second:
            return 1.0
        if self.vectors is not None:
            product = np.dot(self.vectors[first].astype(np.float64), self.vectors[second].astype(np.float64))
            return float(np.float32(product))
        for one, other in ((first, second), (second, first)):
            if self.cosines is not None and self.table is not None:
                place = np.flatnonzero(self.table[one] == other)
                if len(place):
                    return float(self.cosines[one, place[0]])
        return None

    def complete(self, k: int = DEPTH, progress: Callable[[float], None] | None = None) -> None:
        """Find k neighbours of every word, once and for all. progress: called with the share that is done."""
        if self.vectors is not None:
            self.table, self.cosines = nearest(self.vectors, np.arange(len(self.words)), k, progress)
            self._found.clear()

    def save(self, path: Path) -> None:
        """Write an .npz that `read` takes."""
        arrays: dict[str, Any] = {"vectors": self.vectors, "table": self.table, "cosines": self.cosines}
        words = np.frombuffer(json.dumps(self.words).encode(), dtype=np.uint8)
        np.savez(path, sparring_words=words, **{name: x for name, x in arrays.items() if x is not None})

    @classmethod
    def _load(cls, path: Path, name: str) -> "Neighbours":
        with np.load(path, allow_pickle=False) as stored:
            words = json.loads(stored["sparring_words"].tobytes())
            arrays = {key: stored[key] for key in ("vectors", "table", "cosines") if key in stored}
        ids = arrays.get("table", np.zeros((len(words), 0)))
        if any(x.ndim != 2 or len(x) != len(words) for x in arrays.values()) or (ids >= len(words)).any():
            raise DataError(f"{path} is damaged: {len(words)} words, and arrays of another length or range")
        return cls(name, words, **arrays)

    def _has(self, row: int, k: int) -> bool:
        if self.vectors is None:
            return True
        k = min(k, len(self.words) - 1)
        in_table = self.table is not None and k <= self.table.shape[1]
        return in_table or (row in self._found and k <= len(self._found[row][0]))

    def _find(self, rows: Sequence[int], k: int) -> None:
        missing = [row for row in dict.fromkeys(rows) if not self._has(row, k)]
        if missing and self.vectors is not None:
            ids, cosines = nearest(self.vectors, np.array(missing), max(k, DEPTH))
            self._found.update((row, (ids[i], cosines[i])) for i, row in enumerate(missing))

    def _row(self, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        if row in self._found:
            ids, cosines = self._found[row]
        else:
            assert self.table is not None
            ids = self.table[row]
            ids = ids[ids >= 0]
            cosines = np.full(len(ids), np.nan) if self.cosines is None else self.cosines[row][: len(ids)]
        return ids[:k], cosines[:k]


def neighbours(words: Sequence[str], vectors: np.ndarray, k: int = DEPTH, *, name: str = "vectors") -> Neighbours:
    """The whole table of (V,) words and (V, D) vectors at once: k neighbours each."""
    found = Neighbours.from_vectors(name, words, vectors)
    found.complete(k)
    return found


def nearest(
    unit: np.ndarray, rows: np.ndarray, k: int, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each row, itself left out, by blocked matrix products: (R, k) int32 and their float32 cosines.

    unit: (V, D) float32 rows of length 1. Of equal cosines the lower number comes first. What is found does not depend
    on which rows are asked for together: the closest are computed again in double precision.
    """
    k = min(k, len(unit) - 1)
    ids = np.zeros((len(rows), k), dtype=np.int32)
    cosines = np.zeros((len(rows), k), dtype=np.float32)
    for first in range(0, len(rows) if k else 0, BLOCK):
        part = rows[first : first + BLOCK]
        scores = unit[part] @ unit.T
        scores[np.arange(len(part)), part] = -np.inf
        last = np.partition(scores, len(unit) - k, axis=1)[:, len(unit) - k]
        for place, row in enumerate(part):
            close = np.flatnonzero(scores[place] >= last[place] - SLACK)
            exact = (unit[close].astype(np.float64) * unit[row].astype(np.float64)).sum(axis=1).astype(np.float32)
            best = np.lexsort((close, -exact))[:k]
            ids[first + place], cosines[first + place] = close[best], exact[best]
        if progress is not None:
            progress((first + len(part)) / len(rows))
    return ids, cosines


def read_vectors(path: Path, *, most: int = MOST) -> tuple[list[str], np.ndarray]:
    """Words and (V, D) float32 vectors of a file; the first `most` of them.

    Known: lines of a word and its numbers (GloVe), the same after a line "V D" (word2vec's text), word2vec's binary
    files, any of these alone in a zip file, and .npz with the arrays `words` and `vectors`. DataError for anything
    else, with the line where it shows.
    """
    try:
        if path.suffix == ".npz":
            return _from_npz(path, most)
        with _opened(path) as file:
            return _from_stream(file, path, most)
    except UNREADABLE as error:
        raise DataError(f"cannot read vectors from {path}: {error}") from error


def _from_npz(path: Path, most: int) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:  # an array of objects, which is pickle, is a ValueError
        if not {"words", "vectors"} <= set(stored):
            raise DataError(f"{path} has the arrays {', '.join(stored) or 'none'}; `words` and `vectors` are expected")
        words, vectors = stored["words"], stored["vectors"]
    if words.dtype.kind != "U" or vectors.dtype.kind != "f" or vectors.ndim != 2 or words.shape != vectors.shape[:1]:
        raise DataError(
            f"{path}: `words` is {words.dtype} {words.shape} and `vectors` {vectors.dtype} {vectors.shape}; (V,) "
            "strings (numpy's <U) and (V, D) floats are expected"
        )
    return [str(word) for word in words[:most]], vectors[:most].astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, or the only file inside a zip file."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(names) != 1:
            raise DataError(f"{path} holds {len(names)} files; one file of vectors is expected")
        with archive.open(names[0]) as file:
            yield file


def _from_stream(file: IO[bytes], path: Path, most: int) -> tuple[list[str], np.ndarray]:
    head = file.readline(40 * WIDEST).split()
    rows, width = None, len(head) - 1
    if len(head) == 2 and head[0].isdigit() and head[1].isdigit():
        rows, width = int(head[0]), int(head[1])
    else:
        file.seek(0)
    if not 1 <= width <= WIDEST:
        raise DataError(f"{path}, line 1: a word and its numbers are expected, found {b' '.join(head)[:80]!r}")
    start = file.tell()
    parsed = _numbers(file.readline(40 * WIDEST), width)
    file.seek(start)
    wanted = most if rows is None else min(rows, most)
    first = 1 if rows is None else 2
    entries = _binary(file, width) if rows is not None and parsed is None else _text(file, path, width, first)
    words: list[str] = []
    vectors: list[np.ndarray] = []
    for word, vector in entries:
        if len(words) == wanted:
            break
        words.append(word)
        vectors.append(vector)
    if not words or (rows is not None and len(words) < wanted):
        raise DataError(f"{path} ends after {len(words)} vectors; {rows or 'some'} are expected")
    return words, np.stack(vectors)


def _text(file: IO[bytes], path: Path, width: int, first: int) -> Iterator[tuple[str, np.ndarray]]:
    for number, line in enumerate(file, first):
        if line.strip():
            entry = _numbers(line, width)
            if entry is None:
                raise DataError(f"{path}, line {number}: a word and {width} numbers are expected, found {line[:80]!r}")
            yield entry


def _numbers(line: bytes, width: int) -> tuple[str, np.ndarray] | None:
    parts = line.rsplit(None, width)  # from the right: GloVe has words with spaces inside
    try:
        vector = np.array([float(part) for part in parts[1:]], dtype=np.float32)
    except ValueError:
        return None
    return (parts[0].decode("utf-8", "replace"), vector) if len(parts) == width + 1 else None


def _binary(file: IO[bytes], width: int) -> Iterator[tuple[str, np.ndarray]]:
    """word2vec's: a word, a space, float32 numbers in little-endian order, and a newline or not."""
    while True:
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b"") and len(letters) < 10_000:
            letters += letter
        raw = file.read(4 * width)
        if len(raw) < 4 * width:
            return
        yield letters.lstrip(b"\n").decode("utf-8", "replace"), np.frombuffer(raw, dtype="<f4").astype(np.float32)


def is_word(text: str) -> bool:
    """Whether a string is one word as `Text` sees them, with nothing before or after it."""
    return bool(WORD.findall(text) == [text])


def whole_words(tokenizer: Any) -> dict[str, int]:
    """Pieces of a tokenizer that are whole words of letters, two or more, with their ids, in the order of these.

    Which pieces begin a word is seen from the mark that the vocabulary uses: "##" before those that do not (BERT),
    "Ġ" (byte-level BPE) or "▁" (SentencePiece) before those that do.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    mark = next((m for m in ("Ġ", "▁") if sum(piece.startswith(m) for piece in vocabulary) > len(vocabulary) // 10), "")
    found: dict[str, int] = {}
    for piece, number in sorted(vocabulary.items(), key=lambda entry: entry[1]):
        word = piece.removeprefix(mark)
        if mark == "Ġ" and not word.isascii():  # bytes of other letters are spelled with letters that are not meant
            word = tokenizer.convert_tokens_to_string([piece]).strip()
        inside = mark and not piece.startswith(mark)
        if not inside and piece not in special and len(word) > 1 and word.isalpha():
            found.setdefault(word, number)
    return found


def _pair(name: str, word: str, entry: Any) -> tuple[str, float]:
    if isinstance(entry, str):
        return entry, np.nan
    if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str):
        other, cosine = entry
        if isinstance(cosine, int | float) and -1.001 <= cosine <= 1.001:
            return other, float(cosine)
    raise DataError(f"{name}: a neighbour of {word!r:.80} is {entry!r:.80}; a word or [word, cosine] is expected")


def _is_ours(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return "sparring_words.npy" in archive.namelist()
