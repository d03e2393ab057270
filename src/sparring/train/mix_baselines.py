"""What an adapter mixture is compared with (Nguyen & Le 2024), each a model like any other in baselines/NAME."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..adapters.adapter import Adapter
from ..adapters.gates import Gate
from ..adapters.mixture import AdapterMixture
from ..adapters.soup import fixed, model_soup
from ..model.load import load_checkpoint
from . import folder as run_folder

if TYPE_CHECKING:
    from .mix_job import Job

BASELINES_FOLDER, CLEAN = "baselines", "clean"


def make_baselines(job: "Job", mixture: AdapterMixture) -> None:
    """Those that the settings name and an earlier call has not made."""
    for name in job.settings.compared:
        place = job.folder / BASELINES_FOLDER / name
        if not place.is_dir():
            _write(job, _baseline(job, mixture, name), place)


def _baseline(job: "Job", mixture: AdapterMixture, name: str) -> nn.Module:
    clean = job.clean(mixture)
    adapters: dict[str, Adapter] = {each: mixture.adapter(each) for each in mixture.names} | {mixture.names[0]: clean}
    if name == "union":
        rows = [*job.rows, *(row for attack in job.settings.known_attacks for row in job.attacked_rows(attack, clean))]
        return job.mixture({"union": job.adapter("union", rows)}, combine="logits")
    if name == "model-soup":
        return model_soup([_full(job, CLEAN, job.rows), *(
            _full(job, attack, job.rows_of(job.attacked(attack, clean)[0])) for attack in job.settings.known_attacks
        )])  # fmt: skip
    if name == "adapter-soup":
        return fixed(mixture, {each: 1 / len(adapters) for each in adapters})
    if name == "constant":
        made = job.mixture(adapters)
        made.gate = Gate(name="constant", constant=job.settings.constant)
        return made
    return job.mixture(adapters, combine="vote" if name == "vote" else "logits")


def _full(job: "Job", name: str, rows: list[dict[str, Any]]) -> nn.Module:
    """A whole model fine-tuned on some rows; read if an earlier call finished it."""
    stage = f"full-{name}"
    place = job.place(stage) / "model"
    if not place.is_dir():
        own = job.settings
        model: Any = job.fit(
            job.base(),
            rows,
            stage,
            epochs=own.epochs if name == CLEAN else own.attack_epochs,
            learning_rate=own.full_learning_rate,
        )
        partial = place.with_name(".model.partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(str(partial))
        job.tokenizer.save_pretrained(str(partial))
        partial.rename(place)
        shutil.rmtree(job.place(stage) / run_folder.CHECKPOINTS, ignore_errors=True)
    return load_checkpoint(place)[0]


def _write(job: "Job", model: Any, place: Path) -> None:
    """Beside and renamed, with the description that evaluation reads."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(model, AdapterMixture):
        model.save_pretrained(partial, job.tokenizer)
    else:
        model.save_pretrained(str(partial))
        job.tokenizer.save_pretrained(str(partial))
    shutil.copy(job.folder / run_folder.RUN, partial / run_folder.RUN)
    partial.rename(place)
