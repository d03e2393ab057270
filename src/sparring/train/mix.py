"""The job of AdpMixup: an adapter for clean text, one for each known attack, calibration; a folder to predict with.

run.yaml                   settings, data and their hashes, versions; written first
attacks/NAME.jsonl         what became of each training row under an attack, a line as it ends
training/NAME/             log of an adapter's training; checkpoints while it lasts
stages.json                what each stage cost
mixture.json, adapters/    the mixture, see adapters/folder.py
baselines/NAME/            what it is compared with, if asked for
metrics.json               what came out; its presence means that the job is finished

Each piece is there whole or not at all. The same call again goes on after the last one.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ..adapters.folder import MIXTURE, load_mixture, save_mixture
from ..adapters.soup import export
from ..data.load import Examples
from ..errors import RunError, SettingError
from ..model.load import longest_text
from . import folder as run_folder
from .mix_baselines import BASELINES_FOLDER, make_baselines
from .mix_job import CLEAN, Job, Progress, Report
from .mix_options import Mix


def train_mixture(
    settings: Mix,
    *,
    report: Report = lambda line: None,
    progress: Progress = lambda title, done, total, note: None,
) -> dict[str, Any]:
    """Make the mixture that the settings describe, or go on with it; what metrics.json holds.

    report: receives sentences for people. progress: called as things go on.
    Raises a SparringError before anything is written if something does not fit, DataError when an attack breaks no row
    or no row of a class, Interrupted after Ctrl-C.
    """
    job = Job.begin(settings, report, progress)
    clean = job.adapter(CLEAN, job.rows)
    adapters, kept_back = {CLEAN: clean}, list[Examples]()
    for name in settings.known_attacks:
        broken, kept = job.attacked(name, clean)
        adapters[name] = job.adapter(name, job.rows_of(broken), head_from=clean, attack=name)
        kept_back.append(kept)
    mixture = job.mixture(adapters)
    job.calibrate(mixture, kept_back)
    save_mixture(mixture, job.folder, job.tokenizer)
    make_baselines(job, mixture)
    return job.finish(mixture)


def add_attack(
    folder: Path,
    name: str,
    *,
    report: Report = lambda line: None,
    progress: Progress = lambda title, done, total, note: None,
) -> dict[str, Any]:
    """One more known attack for the mixture in a folder: one more adapter, nothing else is trained again.

    Calibration is taken anew, since it has one more adapter and the rows that the new attack broke.
    """
    mixture, _ = load_mixture(folder)
    job = Job.again(folder, mixture, report, progress)
    if name in mixture.names:
        done = json.loads((folder / run_folder.METRICS).read_text(encoding="utf-8"))
        if name in done["adapters"]:
            raise RunError(f"{folder} has an adapter for {name} already; it holds {', '.join(mixture.names)}")
        return job.finish(mixture)  # an earlier call was cut off here
    if (folder / BASELINES_FOLDER).is_dir():
        report(f"the models in {folder / BASELINES_FOLDER} stay as they are: they do not know {name}")
    clean = job.clean(mixture)
    known = [known for known in mixture.names if known != CLEAN]
    kept_back = [job.attacked(each, clean)[1] for each in known]
    broken, kept = job.attacked(name, clean)
    adapters = {each: mixture.adapter(each) for each in mixture.names} | {CLEAN: clean}
    adapters[name] = job.adapter(name, job.rows_of(broken), head_from=clean, attack=name)
    grown = job.mixture(adapters)
    job.calibrate(grown, [*kept_back, kept])
    save_mixture(grown, folder)
    return job.finish(grown)


def export_mixture(folder: Path, output: Path, coefficient: float) -> None:
    """Write a mixture that is the same for every text: `coefficient` of the clean adapter, the rest shared by the
    attacks'. LoRA becomes a plain model, bottlenecks a mixture of one adapter."""
    if not 0 <= coefficient <= 1:
        raise SettingError(f"--coefficient is {coefficient:g}; it is a share, from 0 to 1")
    mixture, tokenizer = load_mixture(folder)
    attacks = mixture.names[1:]
    if not attacks:
        raise SettingError(f"{folder} holds one adapter only; there is nothing to mix")
    export(
        mixture, {CLEAN: coefficient, **{name: (1 - coefficient) / len(attacks) for name in attacks}}, output, tokenizer
    )
    if (folder / run_folder.RUN).is_file():
        shutil.copy(folder / run_folder.RUN, output / run_folder.RUN)


def rebase_mixture(folder: Path, base: str) -> list[Path]:
    """Write down where the base model of a mixture, and of its baselines, is now; the folders that say so.

    base: a folder or hub name. ModelError, and nothing is written, if its weights are not those of the recorded hash.
    """
    baselines = sorted(path.parent for path in (folder / BASELINES_FOLDER).glob(f"*/{MIXTURE}"))
    for place in (folder, *baselines):
        mixture, _ = load_mixture(place, base=base)
        save_mixture(mixture, place)
    return [folder, *baselines]


def describe_mixture(folder: Path, text: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a mixture is made of, and with `text` (one or two fields) how it mixes there and what it answers."""
    mixture, tokenizer = load_mixture(folder)
    known = mixture.calibration
    record: dict[str, Any] = {
        "mixture": str(folder),
        "base": mixture.reference.name,
        "base_sha256": mixture.reference.sha256,
        "kind": mixture.shape.kind,
        "gate": mixture.gate.name,
        "space": mixture.space,
        "head": mixture.head,
        "combine": mixture.combine,
        "adapters": [
            {
                "name": name,
                "attack": mixture.attacks[name],
                "parameters": sum(x.numel() for x in mixture.adapter(name).tensors.values()),
                "low": known.low[number] if known else None,
                "high": known.high[number] if known else None,
            }
            for number, name in enumerate(mixture.names)
        ],
    }
    if not text:
        return record
    run = run_folder.read_run(folder) if (folder / run_folder.RUN).is_file() else {}
    if len(text) != run.get("fields", len(text)) or len(text) > 2:
        raise SettingError(
            f"--text is given {len(text)} times; the mixture in {folder} reads {run.get('fields', 'one or two')}"
        )
    length = longest_text(mixture, tokenizer, int(run.get("settings", {}).get("max_length", 128)))
    inputs = tokenizer(*([field] for field in text), truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad():
        found = mixture(**inputs)
    chances = found.logits[0].float().softmax(-1)
    for number, row in enumerate(record["adapters"]):
        row["entropy"] = float(found.entropies[0, number])
        row["weight"] = float(found.weights[0, number]) if found.weights is not None else 1 / len(mixture.names)
    mixing = [] if found.mixing is None else found.mixing[0].tolist()
    record["mixing"] = dict(zip(mixture.names[1:], mixing, strict=False))
    record["answer"] = str(mixture.config.id2label[int(chances.argmax())])
    record["confidence"] = float(chances.max())
    return record
