"""The training methods, one file each. A new one is a file like these and a line in this dict."""

from typing import Any

from ..errors import SettingError
from ..settings import nearest
from .alum import ALUM
from .base import Method
from .cat import CAT
from .fgm import FGM
from .freelb import FreeLB
from .mat import MAT
from .noise import Noise
from .pgd import PGD
from .r3f import R3F
from .rdrop import RDrop
from .smart import SMART
from .standard import Standard
from .vat import VAT

METHODS: dict[str, type[Method]] = {
    "standard": Standard,
    "noise": Noise,
    "fgm": FGM,
    "pgd": PGD,
    "vat": VAT,
    "freelb": FreeLB,
    "smart": SMART,
    "r3f": R3F,
    "rdrop": RDrop,
    "alum": ALUM,
    "cat": CAT,
    "mat": MAT,
}


_MIX = "adapter mixtures have a command of their own, sparring mix train; see sparring mix --help and docs/mixture.md"
_ONLINE = "it attacks texts, beside any of these methods: sparring train --online a2t; see docs/input-space.md"
ELSEWHERE = {**dict.fromkeys(("adpmixup", "mixup", "mix"), _MIX), "a2t": _ONLINE}
"""Ways to train against an adversary that are no method here, and where they are."""


def method(name: str, preset: str = "default", /, **settings: Any) -> Method:
    """A method by its name, with settings over a preset; SettingError suggests the nearest name."""
    if name.lower() in ELSEWHERE:
        raise SettingError(f"'{name}' is not one of these methods: {ELSEWHERE[name.lower()]}")
    if name not in METHODS:
        raise SettingError(f"there is no method '{name}'; {nearest(name, METHODS)}")
    return METHODS[name].of(preset, **settings)
