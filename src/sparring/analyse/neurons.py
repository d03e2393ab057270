"""Linguistic correlation analysis (Dalvi et al., AAAI 2019; Durrani et al., EMNLP 2020) of a trained model.

    activations of every layer -> probe of all neurons (the oracle) -> ranking of neurons by their weights in it
    -> fewest neurons with which a probe fitted anew is as good, within a tolerance: the minimal neuron set

with what keeps it honest: accuracies on sentences that the probes did not see, a control task that shows how much they
learn by heart, the set's ablation, and an interval for its size. A model with a smaller set for a property has "more
specialised" neurons in the words of Altinisik et al. (Findings of ACL 2023), who explain generalisation with it.
"""

import hashlib
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adapters.load import load_trained
from ..data.batch import make_key
from ..errors import SettingError
from ..evaluate.metrics import interval
from ..model.load import MINILM, minilm_folder
from .activations import Activations, Progress, extract
from .corpus import Corpus, limit, read_corpus
from .describe import exclusive, top_neurons
from .minimal import bootstrap, search
from .options import Neurons
from .ranking import rank
from .words import Fitter, Words

__all__ = ["Neurons", "Progress", "analyse", "analyse_activations"]

FORMAT = 1
"""Part of every key: raised when the same settings begin to mean something else."""


def analyse(
    run: Path, settings: Neurons, progress: Progress | None = None, *, work: Path | None = None
) -> dict[str, Any]:
    """The analysis of a trained model, as JSON values: see docs/neurons.md for the keys.

    run: folder of a run or a mixture, a hub name, or "minilm". work: folder for the activations, which another
    analysis of the same model and words then shares; default: a temporary one. progress: called with (done, total,
    what is being done), each stage counting from 0.
    Raises SettingError, DataError or ModelError for what cannot be analysed.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="sparring-neurons-") as folder:
            return analyse(run, settings, progress, work=Path(folder))
    began = time.monotonic()
    corpus = read(settings)
    activations = prepare(run, corpus, settings, work, progress)
    return complete(activations, corpus, settings, began, progress)


def complete(
    activations: Activations, corpus: Corpus, settings: Neurons, began: float, progress: Progress | None = None
) -> dict[str, Any]:
    """`analyse_activations` with its key, and what it cost. began: `time.monotonic()` before the activations."""
    result = analyse_activations(activations, corpus, settings, progress)
    return {
        "key": key_of(activations, corpus, settings),
        **result,
        "seconds": time.monotonic() - began,
        "peak_memory": peak_memory(),
    }


def read(settings: Neurons) -> Corpus:
    """The corpus that the settings name, with its limits."""
    if not settings.corpus:
        raise SettingError("Neurons: setting 'corpus' is missing; name a token-labelled file, such as ud.conllu")
    whole = read_corpus(settings.corpus, settings.column, word_column=settings.word_column)
    return limit(
        whole, words=settings.words, min_count=settings.min_count, max_tags=settings.max_tags, seed=settings.seed
    )


def prepare(run: Path, corpus: Corpus, settings: Neurons, work: Path, progress: Progress | None = None) -> Activations:
    """The activations of a model, made or found in `work`."""
    source = minilm_folder() if str(run) == MINILM and not run.exists() else run
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a model without a classifier gets a new one, always the same
        model, tokenizer = load_trained(source, new_head=True)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return extract(
        model,
        tokenizer,
        corpus,
        work,
        aggregation=settings.aggregation,
        long=settings.long,
        max_length=settings.max_length,
        batch_size=settings.batch_size,
        progress=progress,
    )


def key_of(activations: Activations, corpus: Corpus, settings: Neurons) -> str:
    """16 hex digits over all that decides the result."""
    decides = {name: value for name, value in asdict(settings).items() if name not in ("corpus", "batch_size")}
    text = json.dumps([FORMAT, activations.path.name, corpus.digest, decides], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def analyse_activations(
    activations: Activations, corpus: Corpus, settings: Neurons, progress: Progress | None = None
) -> dict[str, Any]:
    """The analysis of the activations of a corpus's words. The same input gives the same result, bit for bit."""
    data = Words.of(activations, corpus, settings)
    fitter = Fitter(data, settings, progress)
    probes = fitter.along(data.tags, "probe of all neurons")
    oracle, test = probes[-1], data.part(test=True)
    right = oracle.correct(test).numpy()
    learnt = fitter.along(data.control, "control task")[-1]
    control = learnt.correct(data.part(test=True, tags=data.control)).numpy()

    weight = oracle.weight.cpu().numpy()
    ranking = rank(weight)

    def correct_with(size: int) -> np.ndarray:
        columns = np.sort(ranking.order[:size])
        return fitter.some(columns, oracle, f"probe of {size} neurons")

    curve = search(correct_with, right, len(weight), settings.tolerance)
    size = int(curve.sizes[curve.minimal])
    chosen = ranking.order[:size]
    kept = torch.zeros(len(weight), dtype=torch.bool)
    kept[torch.from_numpy(chosen)] = True
    counts, served = exclusive(weight, ranking, size)
    width = activations.width
    layers = [np.arange(layer * width, (layer + 1) * width) for layer in range(activations.layers)]
    majority = int(np.bincount(data.tags[~data.test]).argmax())
    low, high = interval(int(right.sum()), len(right))
    return {
        "corpus": Path(corpus.origin).name,
        "sha256": corpus.digest,
        "column": corpus.column,
        "words": len(data.rows),
        "held_out_words": len(test),
        "tags": list(data.names),
        "layers": activations.layers,
        "width": width,
        "aggregation": settings.aggregation,
        "notes": [*corpus.notes, *activations.notes],
        "probe": {name: getattr(settings, name) for name in ("l1", "l2", "l2_norm", "standardise")},
        "path": [
            {
                "l1": penalty.l1,
                "l2": penalty.l2,
                "passes": probe.passes,
                "weights": int((probe.weight != 0).sum()),
                "neurons": int((probe.weight != 0).any(1).sum()),
                "accuracy": float(probe.correct(test).double().mean()),
            }
            for penalty, probe in zip(fitter.penalties, probes, strict=True)
        ],
        "oracle": {"accuracy": float(right.mean()), "low": low, "high": high},
        "majority": float((test.tags == majority).double().mean()),
        "control": {"accuracy": float(control.mean()), "selectivity": float(right.mean() - control.mean())},
        "minimal": {
            "size": size,
            "accuracy": float(curve.accuracies[curve.minimal]),
            "tolerance": settings.tolerance,
            "curve": [[int(n), float(a)] for n, a in zip(curve.sizes, curve.accuracies, strict=True)],
            "neurons": [int(neuron) for neuron in chosen],
        },
        "layer_profile": np.bincount(chosen // width, minlength=activations.layers).tolist(),
        "layer_accuracy": [
            float(fitter.some(columns, oracle, f"probe of layer {layer}").mean())
            for layer, columns in enumerate(layers)
        ],
        "ablation": {
            "kept": float(oracle.masked(kept).correct(test).double().mean()),
            "removed": float(oracle.masked(~kept).correct(test).double().mean()),
        },
        "exclusive": counts,
        "bootstrap": bootstrap(curve, data.sentence[data.test], make_key(settings.seed, "bootstrap")),
        "top": top_neurons(
            weight,
            ranking.order,
            served,
            data.names,
            width,
            data.table,
            data.rows,
            data.words,
            data.scale,
            top=settings.top,
            top_words=settings.top_words,
        ),
    }


def peak_memory() -> int:
    """Bytes: the most that this process ever held, and of the GPU if there is one."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return most + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
