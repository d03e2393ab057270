"""What the processes do that the tests start: runs that get killed, and runs spread over two processes."""

import json
import os
import shutil
import signal
import sys
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from toys import NAMES, Rows, bert, trainer, weights
from transformers import AutoModelForSequenceClassification, TrainerCallback
from transformers.distributed import DistributedConfig
from transformers.trainer_utils import get_last_checkpoint

from sparring import FineTune, finetune
from sparring.train import trainer as module
from sparring.train.engine import TrainerEngine

# one process that may be killed at any moment

SHORT = {"mat": {"delta_samples": 2, "theta_samples": 2}}
STAGES = ("weights", "optimizer", "state", "method", "rename", "rotate")


def run(folder, name, out, epochs, kill_at=None, stage=None):
    """A run with dropout that resumes from its last checkpoint if it has one, and then writes its weights to `out`."""
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    parts = 1 if name == "mat" else 2
    made = trainer(
        folder, name, SHORT.get(name), model=bert(dropout=0.1), num_train_epochs=epochs,
        per_device_train_batch_size=8 // parts, gradient_accumulation_steps=parts,
        save_strategy="steps", save_steps=3, save_total_limit=2,
    )  # fmt: skip
    if stage:
        die_while_saving(made, kill_at, stage)
    made.train(resume_from_checkpoint=get_last_checkpoint(folder) if Path(folder).is_dir() else None)
    save_file(weights(made), f"{out}.new")
    Path(f"{out}.new").rename(out)


def die_while_saving(made, step, stage):
    """Kill this process at one stage of writing the checkpoint of a step."""

    def deadly(original, after=True):
        def call(*args, **kwargs):
            if after:
                original(*args, **kwargs)
            if made.state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return None if after else original(*args, **kwargs)

        return call

    if stage == "rename":
        Path.rename = deadly(Path.rename, after=False)
    elif stage == "rotate":
        module.rotate_checkpoints = deadly(module.rotate_checkpoints, after=False)
    elif stage == "method":
        TrainerEngine.save = deadly(TrainerEngine.save)
    elif stage == "optimizer":
        torch.save = half_a_file(torch.save, made, step)
    else:
        name = {"weights": "save_model", "state": "_save_rng_state"}[stage]
        setattr(made, name, deadly(getattr(made, name)))


def half_a_file(original, made, step):
    """torch.save that dies in the middle of the optimiser's state."""

    def save(content, file, *args, **kwargs):
        original(content, file, *args, **kwargs)
        if made.state.global_step == step and Path(file).name == "optimizer.pt":
            os.truncate(file, Path(file).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    return save


# two processes

SETTINGS = {"mat": {"noise_ratio": 0.0}}  # each shard of a weight draws noise of its own
# the other methods accumulate as these do: a loss of one pass, of several, of one that is held constant below
IN_PARTS = ("standard", "fgm", "r3f", "freelb", "cat", "smart")
SHARDED = ("standard", "freelb", "alum", "cat", "smart", "mat")
TUNED = ("cat", "smart")  # a module of its own, and a copy of the weights, which a checkpoint must hold


def given(name, accumulation=1, processes=2):
    """The same step of 8 sentences, or 16, for any number of processes; 25 leave a process without any in the last.

    mat averages over the processes what each has computed of its own sentences: give it steps that are even.
    """
    return {
        "rows": Rows(24 if name == "mat" else 25),
        "per_device_train_batch_size": 8 // processes,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 1,
        "optim": "sgd",
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
    }


class Count(TrainerCallback):
    """Counts what the processes exchange in every step: DDP's reductions, and calls of `torch.distributed`."""

    def __init__(self, made):
        self.now, self.steps = {}, []
        prepare = made._prepare_for_training

        def prepared(*args, **kwargs):
            model, loader = prepare(*args, **kwargs)
            if isinstance(model, DistributedDataParallel):
                model.register_comm_hook(None, self.reduce)
            return model, loader

        made._prepare_for_training = prepared

    def reduce(self, state, bucket):
        self.add("ddp", bucket.is_last())
        return allreduce_hook(dist.group.WORLD, bucket)

    def add(self, name, count=1):
        self.now[name] = self.now.get(name, 0) + int(count)

    def on_step_begin(self, *args, **kwargs):
        self.now.clear()

    def on_step_end(self, *args, **kwargs):
        self.steps.append(dict(self.now))

    def __enter__(self):
        self.originals = {name: getattr(dist, name) for name in ("all_reduce", "all_gather")}

        def counting(name):
            def call(*args, **kwargs):
                self.add(name, not kwargs.get("async_op"))  # those of DDP are asynchronous
                return self.originals[name](*args, **kwargs)

            return call

        for name in self.originals:
            setattr(dist, name, counting(name))
        return self

    def __exit__(self, *args):
        for name, original in self.originals.items():
            setattr(dist, name, original)


def replicated(folder, name, accumulation):
    """A run under DistributedDataParallel."""
    made = trainer(folder / "run", name, **given(name, accumulation))
    count = Count(made)
    made.add_callback(count)
    with count:
        made.train()
    save_file(weights(made), folder / f"{name}-{accumulation}-{dist.get_rank()}.safetensors")
    if not dist.get_rank():
        (folder / f"{name}-{accumulation}.json").write_text(json.dumps(count.steps))


def sharded(folder, name, accumulation):
    """A run on a model that transformers shards over the processes when it loads it."""
    config = DistributedConfig(fsdp_size=2, fsdp_plan={"bert.encoder.layer.*": "free_full_weight"})
    model = AutoModelForSequenceClassification.from_pretrained(folder / "start", distributed_config=config)
    made = trainer(
        folder / f"sharded-run-{name}-{accumulation}", name, SETTINGS.get(name), model=model,
        save_strategy="epoch", save_only_model=True, **given(name, accumulation),
    )  # fmt: skip
    unit = made.engine.view.mean_norm()
    made.train()
    made.save_model(str(folder / f"sharded-{name}-{accumulation}"))
    (folder / f"sharded-{name}-{accumulation}-{dist.get_rank()}.unit").write_text(repr(unit))


def fine_tuned(folder, name, accumulation):
    """`sparring train` with copies of the model, with `--fsdp`, and that once more from its first checkpoint on."""
    finetune(fine_tuning(folder, f"copied-{name}", name, accumulation=accumulation))
    run = fine_tuning(folder, f"tuned-{name}", name, fsdp=True, accumulation=accumulation)
    finetune(run)
    first, again = Path(run.output), folder / f"tuned-{name}-again"
    if not dist.get_rank():
        shutil.copytree(first, again)
        (again / "metrics.json").unlink()
        for path in again.glob("checkpoints/checkpoint-[!2]*"):
            shutil.rmtree(path)
    dist.barrier()
    finetune(replace(run, output=str(again)), resume=True)


def fine_tuning(folder, output, name, **given):
    """A run of a few steps of 8 rows, with checkpoints; `texts.csv` and `start` are in the folder."""
    settings = {"model": str(folder / "tuned-start"), "data": str(folder / "texts.csv"), "method": name}
    settings |= {"eval_data": str(folder / "texts.csv"), "precision": "fp32", "learning_rate": 1e-3, "max_steps": 5}
    return FineTune(**settings | {"batch_size": 4, "save_every": 2, "keep": 9, "output": str(folder / output)} | given)


def main(folder):
    """Every method, replicated and sharded; what goes wrong is written down for the test that asks for it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    if not dist.get_rank():
        bert().save_pretrained(folder / "start")
    dist.barrier()
    jobs = [(replicated, name, 1) for name in NAMES] + [(replicated, name, 2) for name in IN_PARTS]
    jobs += [(sharded, name, 1) for name in SHARDED] + [(sharded, "freelb", 2)]
    jobs += [(fine_tuned, name, 1) for name in TUNED]
    try:
        for job, name, accumulation in jobs:
            try:
                job(folder, name, accumulation)
            except Exception:
                (folder / f"{job.__name__}-{name}-{accumulation}.error").write_text(traceback.format_exc())
            dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
