"""Every block of the documentation is run as it is printed, on tiny models and tiny data.

Commands are those of the page, in its order, in a folder where `train.csv`, `roberta-base` or `runs/alum` are there
(stand_ins.py). Only what makes them long is cut: options of SHORT are appended, and the last of two counts. What cannot
be run in a test says so on the page, in a comment before the block that readers do not see:

    <!-- snippet: skip REASON -->
    <!-- snippet: tested by FILE::TEST -->    the test must exist

Their commands are parsed all the same, so that an unknown option fails.
"""

import ast
import re
import shlex
import shutil
import sys
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import stand_ins
import torch
import typer
from accelerate.state import AcceleratorState
from commands import sparring

from sparring import cli
from sparring.train.pretrain import pretrain as whole_pretrain

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "methods").glob("*.md"))
)
LANGUAGES = ("python", "shell", "yaml", "bibtex", "text")
SKIPS, ELSEWHERE = 1, 5
"""The most blocks of all pages that may be left out for a reason, or are tested elsewhere."""
FOLDERS = ("roberta-base", "gpt2", "text", "sst2", "imdb", "conll2000", "cola", "mrpc", "snli")
"""Those of the workshop that a page may read."""
FENCE = re.compile(
    r"(?:^<!-- snippet: (?P<note>.+?) -->\n\n?)?^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.M | re.S
)
PLACEHOLDER = re.compile(r"runs/[\w-]+")
_FEW = ["--limit", "16", "--batch-size", "8", "--precision", "fp32"]
SHORT = {
    "train": [*_FEW, "--epochs", "1", "--max-length", "40"],
    "evaluate": ["--limit", "8", "--steps", "2"],
    "attack": ["--examples", "4"],
    "augment": ["--limit", "12"],
    "pretrain": ["--steps", "2", "--batch-size", "2", "--length", "16", "--eval-blocks", "2", "--pseudo-texts", "2"],
    "mix train": [*_FEW, "--limit", "24", "--epochs", "1", "--attack-epochs", "1", "--train-on", "both"],
    "study init": ["--seeds", "1"],
    "study run": ["--only", "standard"],
    "analyse neurons": ["--words", "240", "--min-count", "10"],
}
FROM_SCRATCH = ["--size", "tiny", "--vocab", "200"]
COMMANDS = sorted(SHORT, key=len, reverse=True)


@dataclass
class Block:
    """A fenced block: where it begins, its language, its text, and what the comment before it says."""

    line: int
    language: str
    body: str
    note: str | None


def blocks(page):
    """The fenced blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            text.count("\n", 0, found.start("body")),
            found["language"] or plain(page, found["body"]),
            *found.group("body", "note"),
        )
        for found in FENCE.finditer(text)
    ]


def plain(page, body):
    """What a block without a language is: nothing, but in the README and in generated pages."""
    if page != "README.md" and not page.startswith("docs/results/"):
        return ""
    return "shell" if re.match(r"sparring |make ", body) else "text"


def commands(block):
    """The commands of a shell block as words: comments are left out, lines that end in a backslash go on."""
    for line in block.body.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def kind_of(words):
    """ "train" or "study run": the key of SHORT for the words behind `sparring`."""
    return next((name for name in COMMANDS if words[: len(name.split())] == name.split()), "")


def parsed(words):
    """The command is known and takes these arguments; nothing is done."""
    command, context, rest = typer.main.get_command(cli.app), None, list(words)
    name = "sparring"
    while True:
        context = command.make_context(name, rest, parent=context, ignore_unknown_options=False)
        if not hasattr(command, "resolve_command") or not context._protected_args + context.args:
            return
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The folder that every page gets a copy of, with a model trained in it."""
    folder = tmp_path_factory.mktemp("workshop")
    stand_ins.write_models(folder)
    patch = stand_ins.surroundings(folder)
    stand_ins.write_resources(folder)
    stand_ins.write_data(folder)
    patch.chdir(folder)
    from sparring import FineTune, finetune

    finetune(
        FineTune(data="train.csv", eval_data="dev.csv", output="trained", epochs=1, batch_size=8, precision="fp32")
    )
    yield folder
    patch.undo()


class InProcess:
    """A pool of workers for studies that does each job here and now."""

    slots, threads = 1, 1

    def __init__(self, workers=None, *, preload=()):
        self.done = []

    def start(self, order):
        from sparring.study.pool import Ended
        from sparring.study.work import do

        self.done.append(Ended(order.job.id, do(order)))

    def ended(self, seconds):
        found, self.done = self.done, []
        return found

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def here(workshop, tmp_path, monkeypatch):
    """A copy of the workshop to run a page in."""
    for path in workshop.iterdir():
        if path.name in FOLDERS or path.is_file():
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sparring.study.execute.LocalPool", InProcess)
    return tmp_path


def given(here, page):
    """The names that Python blocks of a page may use: what `transformers.Trainer` takes, and a victim."""
    from transformers import DataCollatorWithPadding, TrainingArguments

    from sparring.data.demo import reviews
    from sparring.model.load import MINILM, load_classifier, load_tokenizer

    tokenizer = load_tokenizer(MINILM)
    model = load_classifier(MINILM, ("negative", "positive"), tokenizer)
    texts = [review.text for review in reviews("train")[:8]]
    encoded = tokenizer(texts, padding=True)
    names = [name for name in encoded if name != "token_type_ids"]
    rows = [{name: encoded[name][i] for name in names} | {"labels": i % 2} for i in range(8)]
    arguments = TrainingArguments(
        str(here / "trainer"),
        max_steps=1,
        per_device_train_batch_size=4,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
    )
    return {
        "model": model,
        "tokenizer": tokenizer,
        "args": arguments,
        "rows": rows,
        "collate": DataCollatorWithPadding(tokenizer),
        "inputs": tokenizer(texts[:2], padding=True, return_tensors="pt"),
        "victim": (model, tokenizer),
        "texts": [(review.text, review.label) for review in reviews("test")[:4]],
    }


def short_pretrain(settings):
    """What `pretrain` does in Python blocks: with the options that SHORT appends to the command."""
    short = {"steps": 2, "batch_size": 2, "length": 16, "eval_blocks": 2, "pseudo_texts": 2}
    if settings.model is None:
        short |= {"size": "tiny", "vocab": 200}
    return whole_pretrain(replace(settings, **short))


class Page:
    """A page that is being followed."""

    def __init__(self, name, here, workshop, capsys):
        self.name, self.here, self.workshop, self.capsys = name, here, workshop, capsys
        self.module = ModuleType("sparring.methods.a_page")  # where relative imports of the page begin
        self.module.__package__ = "sparring.methods"
        self.said, self.reports = [], "sparring report" in (ROOT / name).read_text(encoding="utf-8")

    def follow(self, block):
        """Run a block."""
        where = f"{self.name}, line {block.line}"
        note = block.note or ""
        if note.startswith(("tested by ", "skip ")):
            self.said.append(f"{where}: {note}")
            for words in commands(block) if block.language == "shell" else ():
                if "sparring" in words:
                    parsed(words[words.index("sparring") + 1 :])
        else:
            assert not note, f"{where}: a comment that is neither `skip REASON` nor `tested by TEST`: {note}"
            getattr(self, block.language)(block, where)

    def text(self, block, where):
        """Nothing to run."""
        assert not re.match(r"(sparring|torchrun|python|pip|make) ", block.body), f"{where}: commands are `shell`"

    bibtex = text

    def python(self, block, where):
        """In one namespace a page; a line of METHODS is entered there."""
        names = self.module.__dict__
        if re.match(r'\s+"\w+": \w+,\n$', block.body):
            from sparring import METHODS

            METHODS.update(eval("{" + block.body + "}", names))
            return
        if "model" not in names:
            names.update(given(self.here, self.name))
        torch.manual_seed(0)
        AcceleratorState._reset_state()  # as arguments of a reader's own do when they are made; these are made before
        code = compile(ast.parse(block.body, where), where, "exec")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sparring.train.pretrain.pretrain", short_pretrain)
            exec(code, names)
        self.capsys.readouterr()  # what it printed is no part of what the next command says

    def yaml(self, block, where):
        """A study, of which every job is planned."""
        (self.here / "study.yaml").write_text(block.body, encoding="utf-8")
        self.sparring(["study", "run", "study.yaml", "--dry-run"], where)

    def shell(self, block, where):
        """Line by line."""
        for words in commands(block):
            place = f"{where}: {shlex.join(words)}"
            if words[0] == "sparring":
                self.sparring(words[1:], place)
            elif words[0] == "torchrun":  # one process here; tests/train/test_distributed.py has two
                assert words[1:2] == ["--nproc-per-node"] and words[3:5] == ["-m", "sparring"], place
                self.sparring(words[5:], place)
            else:
                self.other(words, place)

    def sparring(self, words, place):
        """A command line of ours: its exit code is 0."""
        target = None
        if ">" in words:
            words, target = words[: words.index(">")], words[words.index(">") + 1]
        self.prepare(words)
        kind, more = kind_of(words), []
        if "--resume" in words:
            self.undo(Path(words[words.index("--output") + 1]))
        elif kind == "study run" and ("--only" in words or not self.reports):
            more = ["--dry-run"]  # one arm is run where a page goes on to report it; all else is planned
        elif "--text" not in words or kind != "attack":
            more = list(SHORT.get(kind, []))
        if kind == "pretrain" and not {"--model", "--resume"} & set(words):
            more += FROM_SCRATCH
        if kind == "train" and "--online" in words:
            more += ["--epochs", "2"]
        code, out, err = sparring(*words, *more, capsys=self.capsys)
        assert code == 0, f"{place}\n{out[-2000:]}\n{err[-2000:]}"
        if target:
            Path(target).write_text(out, encoding="utf-8")

    def other(self, words, place):
        """What a test should not do is at least there: a target, a test, an extra, a script."""
        if words[0] == "make":
            assert all(
                re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.M) for word in words[1:] if "=" not in word
            ), place
        elif words[0] in ("pytest", "python") and words[-1].endswith(".py"):
            assert (ROOT / words[-1]).is_file(), place
        elif words[:2] == ["pip", "install"]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            named = re.fullmatch(r"(?:sparring|\.|dist/sparring-[\w.*-]+\.whl)(?:\[([\w,]+)\])?", words[-1])
            assert named, place
            assert set(filter(None, (named[1] or "").split(","))) <= set(project["optional-dependencies"]), place
        else:
            raise AssertionError(
                f"{place}: not a command that can be run here; say why in `<!-- snippet: skip ... -->`"
            )
        self.said.append(f"{place}: is there, and not run")

    def prepare(self, words):
        """Trained models that the page takes for granted."""
        made = words[words.index("--output") + 1] if "--output" in words else ""
        for word in words:
            for name in PLACEHOLDER.findall(word):
                folder = self.here / name
                if not folder.exists() and (name != made.rstrip("/") or "--resume" in words):
                    shutil.copytree(self.workshop / "trained", folder)

    def undo(self, folder):
        """The run is as if it had been killed before its end."""
        for name in ("metrics.json", "model.safetensors", "config.json"):
            (folder / name).unlink(missing_ok=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language not in ("text", "bibtex") for b in blocks(page))]
)
def test_every_block_of_a_page_runs(page, here, workshop, capsys, monkeypatch):
    from sparring import METHODS

    began = time.process_time()
    known, follower = dict(METHODS), Page(page, here, workshop, capsys)
    monkeypatch.setitem(sys.modules, follower.module.__name__, follower.module)
    try:
        for block in blocks(page):
            follower.follow(block)
    finally:
        for name in METHODS.keys() - known.keys():
            del METHODS[name]
    print(*follower.said, f"{page}: {time.process_time() - began:.1f} s of a processor", sep="\n")


def test_every_block_has_a_language_and_no_command_stands_outside_of_one():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in LANGUAGES, f"{page}, line {block.line}: {block.language or 'no'} language"
        outside = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        assert "```" not in outside, f"{page}: a fence that does not begin and end at the margin is not tested"
        assert not re.search(r"^ {4,}(sparring|torchrun|pip|python -m) ", outside, re.M), f"{page}: an indented command"


def test_the_commands_of_generated_pages_are_known_and_their_studies_are_there():
    for page in sorted((ROOT / "docs" / "results").glob("*.md")):
        for block in blocks(str(page.relative_to(ROOT))):
            for words in commands(block) if block.language == "shell" else ():
                if words[0] == "sparring":
                    parsed(words[1:])
                assert all((ROOT / word).is_file() for word in words if word.endswith((".yaml", ".py"))), (
                    f"{page}: {words}"
                )


def test_what_is_not_run_is_little_and_says_why():
    notes = [(page, block.note) for page in PAGES for block in blocks(page) if block.note]
    skips = [f"{page}: {note}" for page, note in notes if note.startswith("skip ")]
    elsewhere = [(page, note.removeprefix("tested by ")) for page, note in notes if note.startswith("tested by ")]
    print(*skips, *elsewhere, sep="\n")
    assert len(skips) <= SKIPS and len(elsewhere) <= ELSEWHERE and len(notes) == len(skips) + len(elsewhere)
    for page, name in elsewhere:
        file, test = name.split("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{page}: there is no {name}"
