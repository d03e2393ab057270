"""sparring doctor"""

from typing import Any

from rich.markup import escape

from ..errors import SparringError
from .console import AsJson, out, print_json


def doctor(json: AsJson = False) -> None:
    """What this machine has: versions, processors, precision, the default model, free disk."""
    import shutil

    import torch

    from ..model.load import fast_bf16, minilm_folder
    from ..train.folder import versions

    try:
        default_model = str(minilm_folder())
    except SparringError as error:
        default_model = f"missing: {error}"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts: dict[str, Any] = {
        **versions(),
        "GPUs": gpus or "none",
        "CPU threads": torch.get_num_threads(),
        "fast bf16": fast_bf16(),
        "default model": default_model,
        "free disk here": f"{shutil.disk_usage('.').free / 1e9:.1f} GB",
    }
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        out.print(f"{name:>15}  {escape(str(value))}")
