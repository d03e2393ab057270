"""What the name of a corpus stands for: files, folders, patterns, a data set of the hub, or the embedded text.

Everything that is no text is refused here, by name and with the way out, before anything is read.
"""

import functools
import gzip
import hashlib
import json
import re
import zlib
from glob import glob, has_magic
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from .files import listed, nearest, printable
from .sources import Hub, JsonLines, Parquet, Rows, Source, Text, reason, zipped

TEXT_KINDS, JSON_KINDS = (".txt", ".text"), (".jsonl", ".ndjson")
_OTHER = (".csv", ".tsv", ".json", ".xz", ".bz2", ".zip", ".tar", ".zst", ".pdf", ".docx", ".html", ".pkl", ".pickle")
_KNOWN = ".txt, .jsonl (both also as .gz) or .parquet"
_HUB = re.compile(r"hub:([\w.-]+(?:/[\w.-]+)?)(?::([^:]+))?")


class Found(NamedTuple):
    """A source with what tells it from another."""

    source: Source
    name: str
    digest: str
    size: int | None
    """Bytes on disk, if it is a file."""


def find(spec: str, field: str | None, notes: list[str]) -> list[Found]:
    """The sources that a corpus is named by, in order; adds to `notes` what was left aside. Raises DataError."""
    found = []
    for part in _parts(spec):
        if part == "demo":
            texts = demo_documents()
            found.append(Found(Rows("demo", texts), "demo", digest_of(json.dumps(texts).encode()), None))
        elif part.startswith("hub:"):
            found.append(_hub(part, field))
        else:
            found += [_file(path, field or "text") for path in _files(part, notes)]
    return found


@functools.lru_cache(maxsize=1)
def demo_documents() -> tuple[str, ...]:
    """The embedded reviews as a corpus: paragraphs of four, from the training split alone."""
    from .demo import reviews

    texts = [review.text for review in reviews("train")]
    return tuple(" ".join(texts[first : first + 4]) for first in range(0, len(texts), 4))


def _parts(spec: str) -> list[str]:
    if not spec.strip():
        raise DataError("No corpus named. Name files, a folder, hub:NAME, or demo.")
    try:
        if Path(spec).expanduser().exists():
            return [spec]
    except (OSError, RuntimeError):
        pass  # too long for one name, or a home folder that nobody has; said of the part that it is
    return [part.strip() for part in spec.split(",") if part.strip()]


def _files(part: str, notes: list[str]) -> list[Path]:
    """The files that a path, folder or pattern stands for, sorted by name."""
    path, name = Path(part), printable(part)
    try:
        path = path.expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
            found = [p for p in inside if _kind(p) in (*TEXT_KINDS, *JSON_KINDS, ".parquet")]
            if not found:
                what = f"only {listed(p.name for p in inside[:50])}" if inside else "nothing"
                raise DataError(
                    f"{name}: no file of the folder is {_KNOWN}; it holds {what}. Name files or convert them."
                )
            if len(inside) > len(found):
                notes.append(f"{name}: {len(inside) - len(found)} files of other kinds than {_KNOWN} were left aside")
            return found
        if path.is_file():
            return [path]
        if has_magic(part):
            found = sorted(
                Path(p)
                for p in glob(str(path), recursive=True)  # noqa: PTH207
                if Path(p).is_file()
            )
            if not found:
                raise DataError(f"{name}: no file matches this pattern. Check it, and quote it in a shell.")
            return found
    except (OSError, RuntimeError) as error:
        why = printable(getattr(error, "strerror", None) or str(error))
        raise DataError(f"{name}: cannot be read ({why}). Check the path.") from None
    if path.exists():
        raise DataError(f"{name}: this is not a regular file. Write the text to a file first.")
    hint = nearest(part.lower(), ["demo"])
    if path.parent.is_dir():
        hint = nearest(path.name, (p.name for p in path.parent.iterdir())) or hint
    raise DataError(f"{name}: there is no such file or folder.{hint or ' For a data set of the hub write hub:NAME.'}")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
        return suffixes[-1] if suffixes and suffixes[-1] != ".parquet" else ".gz"
    return suffixes[-1] if suffixes else ""


def _file(path: Path, field: str) -> Found:
    name, kind = printable(str(path)), _kind(path)
    if kind in _OTHER:
        raise DataError(
            f"{name}: a corpus is made of {_KNOWN} files. Convert it, for example to one JSON object a line."
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(max(0, size - (1 << 16)))
            tail = file.read()
        known = (path.name, digest_of(head + tail), size)
        if not size:
            raise DataError(f"{name}: the file is empty. Name one that holds text.")
        if kind == ".parquet":
            return Found(Parquet.open(path, name, field), *known)
        source: Source = JsonLines(path, name, size, field) if kind in JSON_KINDS else Text(path, name, size)
        _check_text(path, name, head)
    except OSError as error:
        raise DataError(
            f"{name}: cannot be read ({printable(error.strerror or str(error))}). Check the file."
        ) from None
    return Found(source, *known)


def _check_text(path: Path, name: str, head: bytes) -> None:
    if zipped(path):
        try:
            with gzip.open(path) as file:
                head = file.read(1 << 13)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{name}: not a gzip file ({printable(str(error))}). Copy it again, or unpack it."
            ) from None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name}: this is UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    nul = head[: 1 << 13].find(b"\0")
    if nul >= 0:
        raise DataError(f"{name}: a binary file (NUL at byte {nul}). A corpus is made of {_KNOWN} files.")


def _hub(spec: str, field: str | None) -> Found:
    match = _HUB.fullmatch(spec)
    if match is None:
        raise DataError(f"{printable(spec)}: write hub:NAME or hub:NAME:CONFIG, the name with its owner if it has one")
    name, config = match[1], match[2]
    data, streamed = _stream(name, config)
    try:
        features: dict[str, Any] = data.features or next(iter(data), {})
    except Exception as error:  # as many kinds as of loading it
        raise DataError(
            f"{spec}: the data set cannot be read ({reason(error)}). Check the connection and the name, or save it as "
            ".parquet or .jsonl and name that."
        ) from None
    texts = [
        key
        for key, kind in features.items()
        if getattr(kind, "dtype", None) in ("string", "large_string") or isinstance(kind, str)
    ]
    chosen = field or ("text" if "text" in texts else texts[0] if len(texts) == 1 else "text")
    if chosen not in texts:
        raise DataError(
            f"{spec}: no column {chosen!r} with texts; it has {listed(texts or features)}. Name one: `field`."
        )
    split = (data.info.splits or {}).get("train") if data.info is not None else None
    rows = getattr(split, "num_examples", 0) or 1_000_000
    version = str(getattr(data.info, "version", None)) if data.info is not None else ""
    digest = digest_of(json.dumps([spec, chosen, version, rows]).encode())
    return Found(Hub(spec, data, chosen, rows, streamed=streamed), spec, digest, None)


def _stream(name: str, config: str | None) -> tuple[Any, bool]:
    """A data set's train split as a stream; from the local cache where the hub cannot be reached."""
    import datasets

    try:
        return datasets.load_dataset(name, config, split="train", streaming=True), True
    except Exception as error:  # the library and the network raise many kinds; none of them helps as a traceback
        why = reason(error)
        if not (isinstance(error, ConnectionError) or "onnect" in why or "ffline" in why):
            raise DataError(
                f"hub:{name}: the data set cannot be loaded ({why}). Check name and config (hub:NAME:CONFIG), "
                "or save it as .parquet or .jsonl and name that."
            ) from None
    try:
        return datasets.load_dataset(name, config, split="train"), False
    except Exception:
        raise DataError(
            f"hub:{name}: the hub cannot be reached and the data set is not in the local cache ({why}). "
            "Connect (and unset HF_HUB_OFFLINE), or name a local copy: files of .txt, .jsonl or .parquet, or demo."
        ) from None


def digest_of(data: bytes) -> str:
    """32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
