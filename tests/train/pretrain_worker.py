"""What the processes do that the pre-training tests start: runs that get killed, and runs spread over two processes."""

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import torch
from transformers.training_args import OptimizerNames

from sparring.train import pretrain as job
from sparring.train import trainer as module
from sparring.train.engine import TrainerEngine
from sparring.train.pretrain import pretrain, settings_of
from sparring.train.pretrain_options import Pretrain
from sparring.train.stream import Stream

STAGES = ("weights", "optimizer", "method", "stream", "rename", "rotate")


def run(given: dict, stage: str | None = None, step: int = 0) -> None:
    """A run that goes on where it stands; it dies at a stage of writing the checkpoint of a step if told so."""
    torch.set_num_threads(1)
    settings = Pretrain(**given)
    output = Path(settings.output)
    begun = (output / "run.yaml").is_file()
    if output.exists() and not begun:
        shutil.rmtree(output)  # killed before anything was done
    if stage:
        die_while_saving(stage, step)
    pretrain(settings_of(output) if begun else settings, resume=begun)


def die() -> None:
    """As from outside, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_saving(stage: str, step: int) -> None:
    """Kill this process at one stage of writing the checkpoint of a step."""

    def deadly(owner, name, now, before=lambda *args: None):
        original = getattr(owner, name)

        def call(self, *args, **kwargs):
            if now(self):
                before(self, *args)
                die()
            return original(self, *args, **kwargs)

        setattr(owner, name, call)

    def at(trainer) -> bool:
        return trainer.state.global_step == step and getattr(trainer, "_saving", False)

    if stage == "weights":
        deadly(module.AdversarialTrainer, "_save", at)
    elif stage == "optimizer":
        original = module.AdversarialTrainer._save_optimizer_and_scheduler

        def half(self, folder):
            original(self, folder)
            path = Path(folder) / "optimizer.pt"
            os.truncate(path, path.stat().st_size // 2)

        deadly(module.AdversarialTrainer, "_save_optimizer_and_scheduler", at, half)
    elif stage == "method":
        deadly(TrainerEngine, "save", lambda engine: at(engine.trainer))
    elif stage == "stream":
        deadly(Stream, "save", lambda s: s.step == step, lambda s, place: (place / "stream-0.json").write_text('{"st'))
    elif stage == "rename":
        deadly(Path, "rename", lambda path: path.name == f"checkpoint-{step}")
    else:
        original_rotate = module.rotate_checkpoints

        def rotate(*args, output_dir, **kwargs):
            if (Path(output_dir) / f"checkpoint-{step}").is_dir():
                die()
            return original_rotate(*args, output_dir=output_dir, **kwargs)

        module.rotate_checkpoints = rotate


def main(jobs: Path) -> None:
    """Runs named in a file, one after another, in each of several processes."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    with_sgd()
    if told := os.environ.get("DIE"):
        stage, step = told.split()
        if stage == "stream" or os.environ["RANK"] == "0":
            die_while_saving(stage, int(step))
    try:
        for name, given in json.loads(jobs.read_text()).items():
            try:
                output = Path(given["output"])
                begun = (output / "run.yaml").is_file() and not (output / "metrics.json").exists()
                if not (output / "metrics.json").exists():
                    pretrain(Pretrain(**given), resume=begun)
            except Exception:
                jobs.with_name(f"{name}.error").write_text(traceback.format_exc())
            dist.barrier()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def with_sgd() -> None:
    """Adam turns the last bits of a gradient that should be zero into whole steps: compare runs without it."""
    original = job.training_arguments

    def arguments(settings, precision):
        args = original(settings, precision)
        if not settings.fsdp:
            args.optim = OptimizerNames.SGD
        return args

    job.training_arguments = arguments


if __name__ == "__main__":
    main(Path(sys.argv[1]))
