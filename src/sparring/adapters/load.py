"""From a name or a folder to a trained classifier, whatever kind it is."""

from pathlib import Path
from typing import Any

from torch import nn

from ..model.load import load_checkpoint
from .folder import MIXTURE, load_mixture


def load_trained(source: Path | str, *, new_head: bool = False) -> tuple[nn.Module, Any]:
    """A trained classifier in eval mode and its tokenizer: of a run's folder, a mixture's folder, or a hub name.

    new_head: as `load_checkpoint` takes it.
    Raises ModelError when the folder holds none, or no folder and no hub model has this name.
    """
    if (Path(source) / MIXTURE).is_file():
        return load_mixture(Path(source))
    return load_checkpoint(source, new_head=new_head)
