"""Victims under text attacks: the folder of results, several recipes, several victims, the calibrated attacker.

OUTPUT/VICTIM/RECIPE.jsonl         one line an example, written as it ends (RECIPE.calibrated.jsonl: at a temperature)
OUTPUT/VICTIM/results.json         what the lines add up to
OUTPUT/VICTIM/report.html          the same to look at, with every example and the comparison
OUTPUT/comparison.json             of several victims, on the same examples

With one victim its files lie in OUTPUT itself.
"""

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..attack.calibrate import calibrated as calibrated_temperature
from ..attack.engine import Memory
from ..attack.outcome import Outcome, compare, summary, worst_case
from ..attack.recipe import Recipe
from ..attack.records import Record, fingerprint, read_lines
from ..attack.report import write_report
from ..attack.run import Results, attack
from ..attack.similarity import Encoder
from ..attack.victim import ModelVictim, Victim, as_victim
from ..data.load import Examples, load
from ..errors import DataError, Interrupted, ModelError, RunError, SettingError
from ..model import world
from ..train.folder import RUN, read_run, versions, write_json
from ..train.options import check_frozen
from .attacks_page import report_of
from .classes import examples_for
from .metrics import interval
from .run import run_examples

RESULTS, REPORT = "results.json", "report.html"
SAME_TEMPERATURE = 0.01
"""Relative difference below which two fits to the same rows are one: batches of other sizes change the last bits."""
_COST = ("seconds", "service_seconds", "service_answers", "resumed_after")
"""What an entry keeps when a later call finds nothing left to do; `resumed_after`: rows that the seconds leave out."""
Progress = Callable[[str, int, int, int], None]
"""Called with (what is going on, examples done, all of them, broken ones)."""


@dataclass(frozen=True, kw_only=True)
class AttackJob:
    """What to attack, with what."""

    victims: tuple[str, ...]
    """Run folders, model folders or hub names."""
    recipes: tuple[Recipe, ...]
    data: str | None = None
    """Default: the held-out data of the run."""
    split: str | None = None
    text: tuple[str, ...] | None = None
    label: str | None = None
    examples: int | None = None
    """That many rows, drawn with a fixed seed."""
    frozen: tuple[int, ...] = ()
    """Numbers of the text columns that no attack may touch."""
    budget: int | None = None
    calibrated: bool = False
    calibrate_on: str | None = None
    """Labelled data whose labels the calibrated attacker's temperature is fitted to; default: the attacked rows."""
    seed: int = 0
    half: bool | None = None
    output: Path = Path("attacks")
    resume: bool = False
    transfer: tuple[Path, ...] = ()
    """Files of adversarial rows made against another victim: RECIPE.jsonl, or labelled data of any kind."""
    command: str | None = None
    """For the report."""


def attack_job(job: AttackJob, *, progress: Progress | None = None) -> dict[str, Any]:
    """Run what is missing, write results and reports, and return everything as one plain record.

    {"victims": [{"victim", "data", "attacks": [...], "worst_case", "calibration", "minimum", "transfer"}],
    "comparison": [...]}.
    With torchrun every process takes its share of the examples; the record is complete in all of them.
    Raises SparringError for anything a user can mend, Interrupted after Ctrl-C; finished examples are kept.
    """
    if not job.recipes and not job.transfer:
        raise SettingError("there is nothing to do: name a recipe, or a file of adversarial rows with --transfer")
    names = [recipe.name for recipe in job.recipes]
    if len(set(names)) < len(names):
        raise SettingError(f"each recipe once: {', '.join(names)}")
    if job.budget is not None and job.budget < 1:
        raise SettingError(f"--budget is {job.budget}; the first query is that of the original, so give 1 or more")
    if job.calibrate_on is not None and not job.calibrated:
        raise SettingError("--calibrate-on is of the calibrated attacker; add --calibrated")
    for path in job.transfer:
        if not path.is_file():
            raise DataError(f"there is no file {path} of adversarial rows")
    folders = _folders(job)
    _start_processes()
    there = next((folder / RESULTS for folder in folders if (folder / RESULTS).is_file()), None)
    if there is not None and not job.recipes:  # of attacks, whose lines would not be asked for the new results
        raise RunError(f"{there} exists already; choose another --output for rows of --transfer alone")
    if there is not None:
        _check_may_go_on(job, folders, there)
    _check_same_rows(job)
    world.wait()
    encoder = _encoder()
    records, attacks = [], []
    for victim, folder in zip(job.victims, folders, strict=True):
        try:
            record, outcomes = _attack_victim(job, victim, folder, encoder, progress)
        except KeyboardInterrupt as error:
            if not any(folder.glob("*.jsonl")):
                raise Interrupted("stopped before any example had ended; nothing was written") from error
            raise Interrupted(
                f"stopped: the examples that have ended are kept in {folder}; the same command with --resume goes on"
            ) from error
        records.append(record)
        attacks.append(outcomes)
    result: dict[str, Any] = {"victims": records}
    if len(records) > 1:
        result["comparison"] = _comparison(job, attacks)
        if _is_main():
            write_json(job.output / "comparison.json", result["comparison"])
            for record, outcomes, folder in zip(records, attacks, folders, strict=True):
                if outcomes:  # each victim's report was written when it was done; now the others are known too
                    write_report(folder / REPORT, report_of(record, outcomes, job.command, result["comparison"]))
    return result


def _attack_victim(
    job: AttackJob, name: str, folder: Path, encoder: Encoder | None, progress: Progress | None
) -> tuple[dict[str, Any], dict[str, list[Outcome]]]:
    victim = as_victim(name, half=job.half)
    examples = _examples(job, name, victim)
    check_frozen(job.frozen, len(examples.texts[0]))
    handed = [_handed(path, examples) for path in job.transfer]
    runs: list[tuple[str, Recipe, float]] = [(recipe.name, recipe, 1.0) for recipe in job.recipes]
    calibration = _calibration(job, victim, examples, folder) if job.calibrated else None
    if calibration is not None:
        runs += [(f"{recipe.name}.calibrated", recipe, calibration["temperature"]) for recipe in job.recipes]
    head: dict[str, Any] = {"victim": fingerprint(name), "data": examples.digest, "frozen": list(job.frozen)}
    head["labels"] = list(examples.label_names)
    head["half"] = isinstance(victim, ModelVictim) and victim.half
    memory = Memory()  # a calibrated attacker sees the same logits: texts asked about at T = 1 cost nothing
    attacks: list[dict[str, Any]] = []
    outcomes: dict[str, list[Outcome]] = {}
    kept_by: dict[str, Record] = {}
    for title, recipe, temperature in runs:
        settings = {"seed": job.seed, "budget": job.budget, "temperature": temperature}
        kept_by[title] = Record(folder, title, {**head, **recipe.bound(victim).identity(), **settings})
    earlier = {entry["title"]: entry for entry in _earlier(folder)["attacks"]}
    begun = {title: len(_begun(kept, job.resume)) for title, kept in kept_by.items()}
    world.wait()  # before any process writes what another would take for an earlier call's
    for title, recipe, temperature in sorted(runs, key=lambda run: job.recipes.index(run[1])):
        kept = kept_by[title]
        tick = None if progress is None else _titled(progress, title)
        results = attack(
            victim,
            examples,
            recipe,
            budget=job.budget,
            temperature=temperature,
            seed=job.seed,
            frozen=job.frozen,
            encoder=encoder,
            record=kept,
            memory=memory,
            progress=tick,
        )
        world.wait()
        found = kept.read()
        outcomes[title] = [found[row] for row in sorted(found)]
        attacks.append(_entry(title, recipe, results, outcomes[title], begun[title]))
        if begun[title] == len(outcomes[title]):  # nothing was left to do: what it cost is what it cost then
            attacks[-1] |= {key: value for key, value in earlier.get(title, {}).items() if key in _COST}
    notes = list(examples.notes)
    if outcomes and all(o.status == "skipped" for found in outcomes.values() for o in found):
        notes.append(
            "there was nothing to attack, no correctly classified example: are the labels those of this model?"
        )
    record: dict[str, Any] = {
        "victim": name,
        "data": {"origin": examples.origin, "rows": len(examples.texts), "sha256": examples.digest},
        "notes": notes,
        "labels": list(examples.label_names),
        "attacks": attacks,
        "worst_case": worst_case(outcomes.values()) if len(outcomes) > 1 else None,
        "calibration": calibration,
        "minimum": _minimum(job, outcomes) if job.calibrated else None,
        "transfer": [_transfer(rows, victim) for rows in handed],
        "versions": versions(),
    }
    if _is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RESULTS, record)
        if attacks:
            write_report(folder / REPORT, report_of(record, outcomes, job.command))
    return record, outcomes


def _check_may_go_on(job: AttackJob, folders: Sequence[Path], there: Path) -> None:
    """RunError where results would be written over: without --resume any, with it those of attacks not named now."""
    known = [_earlier(folder) for folder in folders]
    done = list(dict.fromkeys(entry["title"] for found in known for entry in found["attacks"]))
    named = {recipe.name + end for recipe in job.recipes for end in ("", ".calibrated" if job.calibrated else "")}
    files = list(dict.fromkeys(entry["file"] for found in known for entry in found["transfer"]))
    lost = [title for title in done if title not in named]
    lost += [file for file in files if file not in map(str, job.transfer)]
    if job.resume and not lost:
        return
    way_out = "go on with --resume"
    if lost:
        every = dict.fromkeys([title.removesuffix(".calibrated") for title in done] + [r.name for r in job.recipes])
        calibrated = " --calibrated" if any(title.endswith(".calibrated") for title in done) else ""
        transfer = "".join(f" --transfer {file}" for file in dict.fromkeys([*files, *map(str, job.transfer)]))
        way_out = (
            f"it has results of {', '.join(lost)}; go on with --resume --recipe {','.join(every)}{calibrated}{transfer}"
        )
    raise RunError(f"{there} exists already; {way_out}, or choose another --output")


def _earlier(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The attacks and the transfer that results.json has, where there is one."""
    path = folder / RESULTS
    if not path.is_file():
        return {"attacks": [], "transfer": []}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        attacks = [{**entry, "title": str(entry["title"])} for entry in found["attacks"]]
        return {"attacks": attacks, "transfer": [{"file": str(entry["file"])} for entry in found["transfer"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it to go on, or choose another --output") from error


def _check_same_rows(job: AttackJob) -> None:
    """SettingError for runs that are compared, each on held-out data of its own."""
    runs = [Path(name) for name in job.victims if (Path(name) / RUN).is_file()]
    if job.data is not None or len(runs) < 2:
        return
    own = [run_examples(run, read_run(run), split=job.split, text=job.text, label=job.label).digest for run in runs]
    other = next((run for run, digest in zip(runs, own, strict=True) if digest != own[0]), None)
    if other is not None:
        raise SettingError(
            f"{runs[0]} and {other} have different held-out data, and models are compared on the same rows: name data "
            "for all of them with --data"
        )


def _calibration(job: AttackJob, victim: Victim, examples: Examples, folder: Path) -> dict[str, Any]:
    """The temperature that suits the victim best, and the rows whose labels it was fitted to.

    Fitted again, it differs in the last digits; lines that are there keep the one that they were made at.
    """
    rows, attacked = examples, job.calibrate_on is None
    if job.calibrate_on is not None:
        rows = load(job.calibrate_on, split="dev", text=job.text, label=job.label, like=examples)
    temperature = calibrated_temperature(victim, rows.texts, [int(label) for label in rows.labels])
    for path in (path for recipe in job.recipes for path in Record(folder, f"{recipe.name}.calibrated", {}).paths()):
        before = read_lines(path)[0].get("temperature")
        if isinstance(before, int | float) and abs(before / temperature - 1) < SAME_TEMPERATURE:
            temperature = before
    return {
        "temperature": round(temperature, 6),
        "fitted_on": "the attacked rows" if attacked else rows.origin,
        "rows": len(rows.texts),
        "sha256": rows.digest,
        "notes": [] if attacked else list(rows.notes),
    }


def _entry(title: str, recipe: Recipe, results: Results, outcomes: list[Outcome], before: int) -> dict[str, Any]:
    """One attack in results.json: recipe, summary, and what it cost."""
    return {
        "title": title,
        **results.recipe,
        "differs": list(recipe.differs),
        "ignored": list(recipe.ignored),
        "temperature": results.temperature,
        "budget": results.budget,
        "seed": results.seed,
        "summary": asdict(summary(outcomes)),
        "seconds": results.seconds,
        "resumed_after": before,
        "service_seconds": dict(results.work.seconds),
        "service_answers": dict(results.work.answered),
    }


def _minimum(job: AttackJob, outcomes: dict[str, list[Outcome]]) -> list[dict[str, Any]]:
    """Of each recipe: accuracy at T = 1, calibrated, and where either attacker wins an example."""
    found = []
    for recipe in job.recipes:
        plain, warm = outcomes[recipe.name], outcomes[f"{recipe.name}.calibrated"]
        found.append(
            {
                "recipe": recipe.name,
                "plain": worst_case([plain])["accuracy"],
                "calibrated": worst_case([warm])["accuracy"],
                **worst_case([plain, warm]),
            }
        )
    return found


def _comparison(job: AttackJob, attacks: list[dict[str, list[Outcome]]]) -> list[dict[str, Any]]:
    """The first victim against each other one, under each attack."""
    return [
        {"a": job.victims[0], "b": name, "attack": title, "result": compare(attacks[0][title], other[title])}
        for name, other in zip(job.victims[1:], attacks[1:], strict=True)
        for title in attacks[0]
    ]


@dataclass(frozen=True)
class _Handed:
    """Adversarial rows that were made against another victim."""

    path: Path
    made_for: str
    rows: list[tuple[tuple[str, ...], int]]
    """Texts and the number of their class."""


def _handed(path: Path, examples: Examples) -> _Handed:
    if path.suffix == ".jsonl" and _is_attack(path):
        head, outcomes = read_lines(path)
        names, known = list(head.get("labels") or ()), list(examples.label_names)
        if names and known and not set(names) <= set(known):
            raise DataError(f"{path} has the classes {', '.join(names)}; {', '.join(known)} are expected")
        number = {i: known.index(name) for i, name in enumerate(names)} if names and known else {}
        rows = [
            (tuple(o.adversarial), number.get(o.label, o.label))
            for o in outcomes
            if o.status == "success" and o.adversarial is not None
        ]
        made_for = str(head.get("victim", ""))
    else:
        columns = examples.columns[:-1], examples.columns[-1] if examples.columns else None
        loaded = load(str(path), split="test", usual=columns, like=examples)
        rows = [(tuple(fields), int(label)) for fields, label in zip(loaded.texts, loaded.labels, strict=True)]
        made_for = "unknown"
    if not rows:
        raise DataError(f"{path} holds no adversarial row")
    return _Handed(path, made_for, rows)


def _transfer(handed: _Handed, victim: Victim) -> dict[str, Any]:
    """Accuracy on them: a weak attack, and labelled so."""
    texts = list(dict.fromkeys(fields for fields, _ in handed.rows))
    answers = dict(zip(texts, victim.exact.answer(texts), strict=True))
    right = sum(int(answers[fields].argmax()) == gold for fields, gold in handed.rows)
    low, high = interval(right, len(handed.rows))
    return {
        "kind": "transfer",
        "file": str(handed.path),
        "made_for": handed.made_for,
        "rows": len(handed.rows),
        "accuracy": right / len(handed.rows),
        "low": low,
        "high": high,
    }


def _is_attack(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(11) == b'{"attack": '
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _examples(job: AttackJob, name: str, victim: Victim) -> Examples:
    """The rows to attack; their classes are those of the victim."""
    folder = Path(name)
    if (folder / RUN).is_file():
        examples = run_examples(
            folder, read_run(folder), data=job.data, split=job.split, text=job.text, label=job.label, limit=job.examples
        )
    else:
        config = victim.model.config if isinstance(victim, ModelVictim) else None
        classes = victim.classes if isinstance(victim, ModelVictim) else 0
        examples = examples_for(
            name,
            config,
            classes,
            data=job.data,
            split=job.split,
            text=job.text,
            label=job.label,
            limit=job.examples,
        )
    if examples.is_regression:
        raise SettingError("text attacks need classes, and these labels are quantities")
    return examples


def _folders(job: AttackJob) -> list[Path]:
    """Where the files of each victim go."""
    if len(job.victims) == 1:
        return [job.output]
    names = [Path(victim).name for victim in job.victims]
    if len(set(names)) < len(names):
        raise SettingError(f"two victims have the same name: {', '.join(names)}; attack them one by one")
    return [job.output / name for name in names]


def _begun(record: Record, resume: bool) -> dict[int, Outcome]:
    """What an earlier call finished; RunError if there is something and nobody asked to go on."""
    paths = record.paths()
    if paths and not resume:
        raise RunError(
            f"{paths[0]} exists already; go on with --resume, choose another --output, or delete it to begin anew"
        )
    return record.read()


def _titled(progress: Progress, title: str) -> Callable[[int, int, int], None]:
    return lambda done, total, broken: progress(title, done, total, broken)


def _encoder() -> Encoder | None:
    """For the similarity in the results; without the packaged MiniLM it is not measured."""
    try:
        return Encoder.default()
    except (ModelError, DataError):
        return None


def _is_main() -> bool:
    return world.announced_rank() == 0


def _start_processes() -> None:
    if world.announced_size() > 1:
        import torch.distributed as dist

        if not dist.is_initialized():  # one process may finish hours before another
            dist.init_process_group("gloo", timeout=datetime.timedelta(days=7))
