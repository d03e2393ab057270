"""Models beside each other: who needs fewer neurons, where they are, and whether they are the same ones."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from ..data.files import quoted
from ..errors import DataError


def compare(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Results of `analyse` by name, all about the same words: {"models", "fewest", "pairs"}.

    models: in the order of their minimal sets' sizes; "centre" is the mean layer of the set. fewest: the name of the
    first one; "clear" says whether its interval lies below all others'. pairs: neurons in both sets, their Jaccard
    index, what two random sets of these sizes would have on average, and the chance that they share so many ("p").
    A neuron is the same if it has the same place; that means something where models were trained from the same
    weights. Models of different shape have no pairs.
    Raises DataError for results about different words, tags, or tolerance.
    """
    if not results:
        return {"models": [], "fewest": None, "pairs": []}
    _check(results)
    models = sorted((_model(name, one) for name, one in results.items()), key=lambda m: (m["size"], m["name"]))
    first, others = models[0], models[1:]
    clear = bool(others) and all(first["size_interval"][1] < other["size_interval"][0] for other in others)
    pairs = [
        _pair(one, results[one], other, results[other])
        for one, other in combinations(results, 2)
        if all(results[one][key] == results[other][key] for key in ("layers", "width"))
    ]
    return {"models": models, "fewest": {"name": first["name"], "clear": clear}, "pairs": pairs}


def _check(results: Mapping[str, Mapping[str, Any]]) -> None:
    (first, one), *others = results.items()
    for name, other in others:
        for what in ("sha256", "column", "words", "tags", "aggregation"):
            if one[what] != other[what]:
                raise DataError(
                    f"{quoted(first)} and {quoted(name)} were analysed with different {what}: {quoted(one[what])} and "
                    f"{quoted(other[what])}; analyse both with the same corpus and settings"
                )
        if one["minimal"]["tolerance"] != other["minimal"]["tolerance"] or one["probe"] != other["probe"]:
            raise DataError(
                f"{quoted(first)} and {quoted(name)} were analysed with different probes or tolerances; analyse both "
                "with the same settings"
            )


def _model(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    profile = np.array(result["layer_profile"])
    return {
        "name": name,
        "size": result["minimal"]["size"],
        "size_interval": result["bootstrap"]["size"],
        "share": result["minimal"]["size"] / (result["layers"] * result["width"]),
        "oracle": result["oracle"]["accuracy"],
        "selectivity": result["control"]["selectivity"],
        "centre": float(profile @ np.arange(len(profile)) / profile.sum()),
        "layer_profile": result["layer_profile"],
        **result["exclusive"],
    }


def _pair(one_name: str, one: Mapping[str, Any], other_name: str, other: Mapping[str, Any]) -> dict[str, Any]:
    first, second = set(one["minimal"]["neurons"]), set(other["minimal"]["neurons"])
    neurons, shared = one["layers"] * one["width"], first & second
    chance = hypergeom(neurons, len(first), len(second))
    counts = np.arange(min(len(first), len(second)) + 1)
    jaccard = counts / (len(first) + len(second) - counts)
    return {
        "one": one_name,
        "other": other_name,
        "shared": len(shared),
        "jaccard": len(shared) / len(first | second),
        "expected": float(chance.pmf(counts) @ jaccard),
        "p": float(min(1.0, chance.sf(len(shared) - 1))),
        "layers": np.bincount([n // one["width"] for n in shared], minlength=one["layers"]).tolist(),
    }
