"""The shares that a mixture gives its clean adapter, on clean and on attacked texts, as a picture.

    python benchmarks/mixing_picture.py --mixture runs/mix --data sst2/test.csv --output docs/mixing.svg

Texts are attacked end to end: each query of the attacker goes through the gate. The figures behind the picture are
written to benchmarks/results/mixing.json.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results" / "mixing.json"
BINS = np.linspace(0, 1, 21)


def shares(mixture: Any, tokenizer: Any, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """(texts, attacks) in [0, 1]."""
    found = []
    for first in range(0, len(texts), 64):
        columns = [list(column) for column in zip(*texts[first : first + 64], strict=True)]
        inputs = tokenizer(*columns, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            found.append(mixture(**inputs).mixing.float().numpy())
    return np.concatenate(found)


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sparring.adapters.folder import load_mixture
    from sparring.attack import attack
    from sparring.attack.recipes import recipe
    from sparring.data.load import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixture", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--unknown", default="textbugger", help="an attack that the mixture was not trained on")
    parser.add_argument("--synonyms")
    parser.add_argument("--without", default="similarity,word-cosine")
    parser.add_argument("--output", type=Path, default=Path("docs/mixing.svg"))
    options = parser.parse_args()

    mixture, tokenizer = load_mixture(Path(options.mixture))
    rows = load(options.data, split="test", limit=options.examples)
    without = tuple(part.strip().replace("-", "_") for part in options.without.split(",") if part.strip())
    clean = shares(mixture, tokenizer, rows.texts)
    known = mixture.names[1:]
    texts: dict[str, list[tuple[str, ...]]] = {}
    for name in (*known, options.unknown):
        more = {"synonyms": options.synonyms} if options.synonyms else {}
        results = attack((mixture, tokenizer), rows, recipe(name, without=without, **more))
        texts[name] = [o.adversarial for o in results.outcomes if o.adversarial is not None]
        print(results, flush=True)
    attacked = {name: shares(mixture, tokenizer, found) for name, found in texts.items() if found}

    record = {
        "mixture": {"adapters": list(mixture.names), "gate": mixture.gate.name, "kind": mixture.shape.kind},
        "data_sha256": rows.digest,
        "bins": BINS.round(3).tolist(),
        "clean": {k: np.histogram(clean[:, i], BINS)[0].tolist() for i, k in enumerate(known)},
        "attacked": {
            name: {k: np.histogram(x[:, i], BINS)[0].tolist() for i, k in enumerate(known)}
            for name, x in attacked.items()
        },
        "mean_clean": {k: float(clean[:, i].mean()) for i, k in enumerate(known)},
        "mean_attacked": {
            name: {k: float(x[:, i].mean()) for i, k in enumerate(known)} for name, x in attacked.items()
        },
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    plt.rcParams.update(
        {"font.size": 9, "svg.hashsalt": "sparring", "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, axes = plt.subplots(1, len(known), figsize=(4 * len(known), 2.8), sharey=True, squeeze=False)
    for i, (axis, adapter) in enumerate(zip(axes[0], known, strict=True)):
        axis.hist(clean[:, i], BINS, density=True, alpha=0.5, color="#4c72b0", label="clean texts")
        for colour, (name, x) in zip(("#c44e52", "#dd8452", "#937860", "#55a868"), attacked.items(), strict=False):
            label = name if name in known else f"{name} (not known to it)"
            axis.hist(x[:, i], BINS, density=True, histtype="step", linewidth=1.5, color=colour, label=label)
        axis.set(title=f"against the adapter of {adapter}", xlabel="share of the clean adapter")
    axes[0][0].set_ylabel("density")
    axes[0][-1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
