"""Jobs that make something: rows, pre-trained models, models, mixtures."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback

from ..adapters.load import load_trained
from ..data.load import Examples
from ..errors import RunError, SparringError
from ..settings import parse, read_yaml
from ..train import folder as run_folder
from ..train.augment import augment
from ..train.finetune import finetune
from ..train.job import check_same_settings, precision_of
from ..train.mix import train_mixture
from ..train.mix_options import Mix
from ..train.options import FineTune
from ..train.pretrain import pretrain
from ..train.pretrain_options import Pretrain
from .check import anchored_options, augment_of, saving_of
from .perform import Task, model_folder
from .plan import digest_of, sha256_of
from .sources import anchored, write_rows

ROWS, MODEL, PARTS = "rows.csv", "model", "parts"


def augmented(task: Task) -> dict[str, Any]:
    """Rows made before training, in rows.csv."""
    output, place = task.work / ROWS, task.made("train") or task.made("mix")
    victim = None if place is None else model_folder(place, task.job)
    job = augment_of(
        task.job.settings,
        task.root,
        output=output,
        model=None if victim is None else str(victim),
        seed=task.job.seed,
        **_training_rows(task),
    )
    sidecar = output.with_name(f"{ROWS}.yaml")  # rows that are there were made by a call that was cut off behind it
    record = read_yaml(sidecar) if output.exists() else augment(job, progress=task.tick, anew=True)
    return {"rows": record["rows"], "seconds": task.seconds, "report": record["recipes"]}


def pretrained(task: Task) -> dict[str, Any]:
    """A language model, in model/."""
    output, given = task.work / MODEL, {**task.job.settings, **_saving(task)}
    scratch = any(given.get(name) for name in ("family", "size", "model_config"))
    given |= {} if scratch or given.get("model") else {"model": task.model}
    for name in ("corpus", "eval_corpus", "model", "model_config", "tokenizer"):
        if given.get(name):
            given[name] = anchored(str(given[name]), task.root)
    settings = parse(Pretrain, {**given, "output": str(output), "seed": task.job.seed, "pseudo_texts": 0})
    metrics = _finished(output)
    if metrics is None:
        resume = _resumable(settings, Pretrain(), output)
        metrics = pretrain(settings, resume=resume, callbacks=[_Steps(task, "pre-training")], progress=task.tick)
    _drop_checkpoints(output)
    return {
        **_cost(metrics),
        "tokens": metrics["tokens"],
        "parameters": _numbers_in(output),
        "weights": _weights(output),
        "eval": metrics.get("held_out", {}),
    }


def trained(task: Task) -> dict[str, Any]:
    """A classifier, in model/."""
    output, given = task.work / MODEL, {**task.job.settings, **_saving(task)}
    rounds, rows = given.pop("rounds", None), task.made("augment")
    where = _training_rows(task)
    if rows is not None:
        *texts, label = task.rows("train").columns
        where = {"data": str(rows / ROWS), "text": tuple(texts), "label": label, "limit": None}
        if rounds is not None:
            made = read_yaml(rows / f"{ROWS}.yaml")
            given["epochs"] = rounds * made["data"]["rows"] / sum(made["rows"].values())
    settings = parse(
        FineTune,
        {
            **anchored_options(given, task.root),
            **_places(task, where, output),
        },
    )
    metrics = _finished(output)
    if metrics is None:
        metrics = finetune(
            settings,
            resume=_resumable(settings, FineTune(), output),
            callbacks=[_Steps(task, "training")],
            attack_progress=lambda done, total, broken: task.tick("attacking training rows", done, total),
        )
    _drop_checkpoints(output)
    return {
        **_cost(metrics),
        "attack_seconds": metrics.get("online", {}).get("seconds", 0.0),
        "epochs": round(settings.epochs, 6),
        **_parameters(output),
        "weights": _weights(output),
        "eval": metrics.get("eval", {}),
    }


def mixed(task: Task) -> dict[str, Any]:
    """A mixture of adapters, in model/."""
    output = task.work / MODEL
    where = _training_rows(task)
    settings = parse(
        Mix,
        {
            **anchored_options({**task.job.settings, **_saving(task)}, task.root),
            **_places(task, where, output),
        },
    )
    metrics = _finished(output)
    if metrics is None:
        _resumable(settings.anywhere(), Mix(), output)
        metrics = train_mixture(settings, progress=lambda title, done, total, note: task.tick(title, done, total))
    stages = metrics["stages"]
    trainings = [stages[name] for name in metrics["adapters"] if name in stages]
    attacks = [stages[name] for name in stages if name.startswith("attack ")]
    shutil.rmtree(output / "training", ignore_errors=True)
    steps = sum(stage["steps"] for stage in trainings)
    return {
        "steps": steps,
        "passes": steps,
        "train_seconds": round(
            sum(stage["seconds"] for stage in [*trainings, stages.get("calibration", {"seconds": 0})]), 2
        ),
        "attack_seconds": round(sum(stage.get("seconds", 0.0) for stage in attacks), 2),
        "precision": precision_of(settings.precision),
        "parameters": _count(output),
        "trainable_parameters": metrics["trainable_parameters"],
        "weights": _weights(output),
        "storage": sum(adapter["bytes"] for adapter in metrics["adapters"].values()),
        "stages": stages,
        "eval": metrics["eval"],
    }


def _saving(task: Task) -> dict[str, Any]:
    arms = task.study.arms
    arm = arms[task.job.arm]
    return saving_of(task.study, arm if arm.part is None else arms[arm.part[0]], task.job.kind)


# rows


def _places(task: Task, where: dict[str, Any], output: Path) -> dict[str, Any]:
    """What every training is told of rows, starting model, folder and seed."""
    source = task.made("pretrain")
    return {
        **where,
        "text": ",".join(where["text"]) if where["text"] else None,
        "model": str(source / MODEL) if source is not None else task.model,
        "eval_data": _held_out_rows(task),
        "output": str(output),
        "seed": task.job.seed,
    }


def _training_rows(task: Task) -> dict[str, Any]:
    """Where the training rows are: data, text, label, limit. Parts of a file are written out."""
    spec, rows = task.spec, task.rows("train")
    if spec.dev_share or spec.test_share:
        return _written(task, rows, "train")
    text = tuple(part.strip() for part in spec.text.split(",")) if spec.text else None
    return {"data": anchored(spec.train, task.root), "text": text, "label": spec.label, "limit": spec.limit}


def _held_out_rows(task: Task) -> str | None:
    """Held-out rows, under the names that the columns of the training rows have where files have names of their own."""
    spec = task.spec
    if "dev" not in task.job.data:
        return None
    if spec.dev or spec.dev_share or spec.dev_limit or spec.test_share or task.made("augment") is not None:
        train = task.rows("train")
        rows = replace(task.rows("dev", like=train), columns=train.columns)
        return str(_written(task, rows, "dev")["data"])
    return anchored(spec.train, task.root)


def _written(task: Task, rows: Examples, part: str) -> dict[str, Any]:
    path = task.work / PARTS / f"{part}.jsonl"
    write_rows(rows, path)
    *texts, label = rows.columns
    return {"data": str(path), "text": tuple(texts), "label": label, "limit": None}


# going on, and what came out


def _finished(output: Path) -> dict[str, Any] | None:
    """The metrics of a run that was finished by an earlier call."""
    try:
        found = json.loads((output / run_folder.METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _resumable(settings: Any, defaults: Any, output: Path) -> bool:
    """Whether an earlier call began the same run here; what another left behind, or one that did not begin, is gone.

    The same identity can differ where a folder was moved, or another machine goes on in another precision.
    """
    if not output.exists():
        return False
    try:
        job = run_folder.PRETRAINING if isinstance(settings, Pretrain) else None
        begun = run_folder.read_run(output, job=job)
        check_same_settings(settings, defaults, begun, output)
        if begun.get("precision") != precision_of(settings.precision):
            raise RunError("another precision")
    except SparringError:
        shutil.rmtree(output, ignore_errors=True)
        return False
    return True


def _drop_checkpoints(output: Path) -> None:
    shutil.rmtree(output / run_folder.CHECKPOINTS, ignore_errors=True)


def _cost(metrics: dict[str, Any]) -> dict[str, Any]:
    """Steps, passes and seconds, without what was lost when a run was interrupted."""
    named = {"steps": "steps", "passes": "forward_passes", "train_seconds": "train_seconds", "precision": "precision"}
    since = {"resumed_from": metrics["resumed_from"]} if "resumed_from" in metrics else {}
    return {name: metrics[key] for name, key in named.items()} | since


def _parameters(output: Path) -> dict[str, int]:
    """Of a classifier; trainable are those of its adapter and head, if it has one."""
    total, adapter = _count(output), output / "adapter_model.safetensors"
    return {"parameters": total, "trainable_parameters": _numbers_in(output) if adapter.is_file() else total}


def _count(output: Path) -> int:
    model, _ = load_trained(output)
    return sum(weight.numel() for weight in model.parameters())


def _weights(output: Path) -> str:
    """SHA-256 (hex) over all weights files, by name: whether a model that is made again is the same one."""
    found = {path.relative_to(output).as_posix(): sha256_of(path) for path in output.rglob("*.safetensors")}
    return digest_of(found)


def _numbers_in(output: Path) -> int:
    """Numbers in the weights files of a folder."""
    try:
        total = 0
        for path in output.glob("*.safetensors"):
            with safe_open(path, framework="pt") as weights:
                total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
        return total
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read the weights in {output}: {error}") from error


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Steps of a training, for a bar."""

    def __init__(self, task: Task, what: str) -> None:
        self.task, self.what = task, what

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after each step."""
        self.task.tick(self.what, state.global_step, state.max_steps)
