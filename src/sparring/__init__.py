"""sparring gives a language model a sparring partner: it trains, attacks and measures Hugging Face models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.mixture import AdapterMixture
    from .data.batch import Batch
    from .errors import SparringError
    from .methods import METHODS, method
    from .methods.alum import ALUM
    from .methods.base import GradientMethod, LossMethod, Method
    from .methods.cat import CAT
    from .methods.fgm import FGM
    from .methods.freelb import FreeLB
    from .methods.loop import LoopEngine
    from .methods.mat import MAT
    from .methods.noise import Noise
    from .methods.pgd import PGD
    from .methods.r3f import R3F
    from .methods.rdrop import RDrop
    from .methods.smart import SMART
    from .methods.standard import Standard
    from .methods.vat import VAT
    from .model.view import ModelView
    from .train.finetune import finetune
    from .train.options import FineTune
    from .train.pretrain import pretrain
    from .train.pretrain_options import Pretrain
    from .train.trainer import AdversarialTrainer

__version__ = "0.1.0"

# Where each public name lives: torch and transformers are imported when one is first used, not with the package.
_HOMES = {
    "ALUM": "methods.alum",
    "CAT": "methods.cat",
    "FGM": "methods.fgm",
    "MAT": "methods.mat",
    "METHODS": "methods",
    "PGD": "methods.pgd",
    "R3F": "methods.r3f",
    "SMART": "methods.smart",
    "VAT": "methods.vat",
    "AdapterMixture": "adapters.mixture",
    "AdversarialTrainer": "train.trainer",
    "Batch": "data.batch",
    "FineTune": "train.options",
    "FreeLB": "methods.freelb",
    "GradientMethod": "methods.base",
    "LoopEngine": "methods.loop",
    "LossMethod": "methods.base",
    "Method": "methods.base",
    "ModelView": "model.view",
    "Noise": "methods.noise",
    "Pretrain": "train.pretrain_options",
    "RDrop": "methods.rdrop",
    "SparringError": "errors",
    "Standard": "methods.standard",
    "finetune": "train.finetune",
    "method": "methods",
    "pretrain": "train.pretrain",
}

__all__ = [
    "ALUM",
    "CAT",
    "FGM",
    "MAT",
    "METHODS",
    "PGD",
    "R3F",
    "SMART",
    "VAT",
    "AdapterMixture",
    "AdversarialTrainer",
    "Batch",
    "FineTune",
    "FreeLB",
    "GradientMethod",
    "LoopEngine",
    "LossMethod",
    "Method",
    "ModelView",
    "Noise",
    "Pretrain",
    "RDrop",
    "SparringError",
    "Standard",
    "finetune",
    "method",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
