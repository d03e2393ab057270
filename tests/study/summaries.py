"""A summary as a finished study has it, made up by hand: a function of how many arms, attacks and seeds there are."""

import random
import statistics
from itertools import product

from sparring.study.summary import Cell, Claim, Comparison, Cost, Group, Measure, Question, Spread, Summary

FAMILIES = ("baseline", "augmentation", "input", "embedding", "pre-training", "mixture")
ARMS = {
    "standard": "baseline",
    "eda": "augmentation",
    "attack-rows": "augmentation",
    "a2t": "input",
    "random": "input",
    "pgd": "embedding",
    "freelb": "embedding",
    "alum": "embedding",
}
RECIPES = ("textfooler", "deepwordbug", "pwws", "bae")
TEXTS = (
    "a warm , funny and quietly moving film about people who cannot say what they mean",
    "the plot is thin , the jokes are older than the cast , and nobody seems to notice",
    "it is never dull , which is more than can be said of the book it was taken from",
    "an overlong and curiously joyless affair that mistakes volume for feeling",
)
WORDS = ("film", "people", "jokes", "cast", "book", "volume", "feeling", "plot", "they", "never", "older", "moving")


def spread(draw, mean, seeds, jobs, rows=200):
    values = {seed: min(max(mean + draw.gauss(0, 0.01), 0), 1) for seed in range(seeds)}
    middle = statistics.mean(values.values())
    sd = statistics.stdev(values.values()) if seeds > 1 else None
    ends = (max(middle - 0.04, 0.0), min(middle + 0.04, 1.0))
    return Spread(values, middle, sd, (middle - 0.03, middle + 0.03) if seeds > 1 else None, ends, rows, jobs)


def comparison(difference, seeds, verdict=None):
    how = "the larger of two p-values"
    verdict = verdict or ("open" if abs(difference) < 0.03 else "better" if difference > 0 else "worse")
    p = 0.4 if verdict == "open" else 0.0001
    ends = (difference - 0.035, difference + 0.034)
    return Comparison(
        difference,
        ends,
        p,
        min(5 * p, 1.0),
        how,
        (31, 12),
        p / 2,
        2 * difference,
        seeds,
        200,
        verdict,
    )


def make_summary(
    *, arms=None, recipes=RECIPES[:3], seeds=3, budgets=("epochs",), cross=("imdb",), examples=6, seed=0, tops=5
):
    """A study in which what makes models robust costs a little accuracy and more time."""
    draw = random.Random(seed)
    arms = arms or ARMS
    measures = [Measure("clean", "sst2"), *(Measure("cross-domain", name) for name in cross)]
    measures += [Measure(what, name) for what in ("attack", "calibrated") for name in recipes]
    measures += [Measure("worst-case", ""), *(Measure("transfer", f"{name} rows of standard") for name in recipes)]
    measures += [Measure("radius", f"{radius}x") for radius in (0, 0.02, 0.05, 0.1)]
    groups = [Group("sst2", "minilm", budget) for budget in budgets]
    gains = {arm: 0.0 if family == "baseline" else draw.uniform(-0.02, 0.22) for arm, family in arms.items()}
    jobs, cells, costs, claims, attacks, neurons = {}, [], [], [], [], []

    def job(kind, name, arm, group, number, **more):
        identity = f"{draw.getrandbits(64):016x}"
        line = {
            "job": identity, "status": "done", "kind": kind, "name": name, "arm": arm, "family": arms[arm],
            "title": f"{group.dataset}: {arm}, seed {number}: {kind} {name}", "budget": group.budget,
            "dataset": group.dataset, "model": group.model, "seed": number, "data": {"test": "ab" * 32}, "needs": [],
            "settings": {"kind": kind, "arm": arm, "learning_rate": 2e-4, "epochs": 3}, "error": None,
            "cost": {"seconds": 41.5 + number, "peak_memory": 1.1e9}, "environment": {"torch": "2.9", "cpu": "x"},
            "started": "2026-01-01T10:00:00", "ended": "2026-01-01T10:01:00",
        }  # fmt: skip
        jobs[identity] = line | more
        return identity

    for group in groups:
        trained = {}
        for arm, family in arms.items():
            trained[arm] = tuple(job("train", arm, arm, group, number) for number in range(seeds))
            passes, time = draw.choice((3, 6, 12, 30)), draw.uniform(60, 1500)
            seconds = {n: time * (1 + 0.05 * n) for n in range(seeds)}
            middle = statistics.mean(seconds.values())
            of_time = Spread(seconds, middle, 3.0 if seeds > 1 else None, None, None, 0, trained[arm])
            of_passes = Spread(dict.fromkeys(range(seeds), passes), passes, 0.0, None, None, 0, trained[arm])
            of_memory = Spread(dict.fromkeys(range(seeds), 1.4e9), 1.4e9, 0.0, None, None, 0, trained[arm])
            costs.append(Cost(group, arm, family, of_time, of_passes, of_memory, 22_700_000, trained[arm]))
            for measure in measures:
                base = {"clean": 0.88, "cross-domain": 0.8, "transfer": 0.5, "worst-case": 0.12}.get(measure.what, 0.3)
                pull = {"clean": -0.1, "cross-domain": 0.2}.get(measure.what, 1.0)
                if measure.what == "radius":
                    base = 0.88 - 5 * float(measure.name[:-1])
                if measure.what == "calibrated":
                    base -= 0.06
                gain = pull * gains[arm]
                own = tuple(job("score", measure.title, arm, group, number) for number in range(seeds))
                compared = None if family == "baseline" else comparison(gain, seeds)
                cells.append(Cell(group, arm, family, measure, spread(draw, base + gain, seeds, own), compared))
                if compared is not None and measure.what in ("clean", "cross-domain", "attack", "worst-case"):
                    better = "more" if gain > 0 else "less"
                    ends = ", ".join(f"{100 * end:.1f}" for end in compared.interval)
                    sentence = f"{arm} has {better} {measure.title} than standard: {100 * gain:+.1f} points ({ends})"
                    verdict = {"better": "holds", "worse": "refuted", "open": "open"}[compared.verdict]
                    claims.append(Claim(sentence, verdict, group, arm, measure, "", own))
            for name, number in product(recipes, range(seeds)):
                shown = [_example(draw, row) for row in range(examples)]
                identity = job("attack", name, arm, group, number)
                attacks.append(jobs[identity] | {"result": {"recipe": name, "examples": shown, "calibrated": None}})
            if family in ("baseline", "embedding", "input"):
                for number in range(min(seeds, 2)):
                    identity = job("neurons", "ud", arm, group, number)
                    neurons.append(jobs[identity] | {"result": _neurons(draw, tops)})
    questions = (
        Question(
            "Which family is more robust?",
            "Training with perturbed inputs: +14.2 points under the worst attack of each example over standard.",
            "confirmed",
            tuple(claims[:3]),
        ),
        Question("Which family generalises better?", "The three families do not differ by these numbers.", "open", ()),
        Question(
            "Are the neurons of the better-generalising models more specialised?",
            "No: they need more neurons for the same accuracy.",
            "refuted",
            tuple(claims[3:5]),
        ),
    )
    environment = {
        "command": "sparring study run sst2-families.yaml --workers 2",
        "versions": {"sparring": "0.1.0", "torch": "2.9.0", "transformers": "5.23.0"},
        "data": {"sst2/train.csv": "cd" * 32},
    }
    return Summary(
        name="sst2-families",
        baseline=next(iter(arms)),
        arms=dict(arms),
        groups=tuple(groups),
        measures=tuple(measures),
        cells=tuple(cells),
        costs=tuple(costs),
        claims=tuple(claims),
        questions=questions,
        neurons=tuple(neurons),
        attacks=tuple(attacks),
        missing=(),
        failed={},
        environment=environment,
        jobs=jobs,
    )


def _example(draw, row):
    text = f"{TEXTS[row % 4]} ( {row} )"
    status = draw.choice(("success", "success", "failed", "skipped"))
    word = draw.choice(text.split()[:8])
    return {
        "row": row,
        "label": "positive" if row % 2 else "negative",
        "original": [text],
        "adversarial": [text.replace(word, f"{word}X", 1)] if status == "success" else None,
        "predicted": "neutral" if status == "skipped" else "positive" if row % 2 else "negative",
        "attacked": "neutral" if status == "success" else None,
        "status": status,
        "queries": draw.randint(1, 300),
    }


def _neurons(draw, tops):
    profile = [draw.randint(0, 30) for _ in range(7)]
    size = sum(profile)
    exclusive = {"mean_tags": draw.uniform(1, 2), "effective_tags": draw.uniform(2, 4), "alone": 0.7}
    top = [
        {
            "neuron": i,
            "layer": i % 7,
            "unit": 11 * i,
            "tags": ["NOUN", "VERB"] if i % 3 == 0 else ["ADJ"],
            "sole": ["VERB"] if i == 0 else [],
            "weight": draw.uniform(0.5, 2),
            "words": [[word, draw.uniform(-3, 3)] for word in draw.sample(WORDS, 8)],
        }
        for i in range(tops)
    ]
    return {
        "corpus": "ud-english.conllu", "column": "upos", "words": 20_000, "tags": ["NOUN", "VERB", "ADJ", "DET"],
        "layers": 7, "width": 384, "aggregation": "last", "probe": {"l1": 0.001, "l2": 0.001, "l2_norm": "squared"},
        "oracle": {"accuracy": 0.91, "low": 0.9, "high": 0.92}, "majority": 0.17,
        "control": {"accuracy": 0.6, "selectivity": 0.31},
        "minimal": {"size": size, "accuracy": 0.905, "tolerance": 0.01,
                    "curve": [[n, 0.91 - 0.5 / (1 + n / draw.uniform(8, 20))] for n in (1, 5, 20, 80, 300, 2688)]},
        "layer_profile": profile, "layer_accuracy": [0.7 + 0.03 * i + draw.uniform(0, 0.02) for i in range(7)],
        "ablation": {"kept": 0.8, "removed": 0.5}, "exclusive": exclusive,
        "bootstrap": {"size": [size - 9, size + 12], "accuracy": [0.9, 0.91]}, "top": top, "seconds": 61.0,
        "peak_memory": 1e9,
    }  # fmt: skip
