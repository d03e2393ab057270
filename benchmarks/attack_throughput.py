"""Attacks against the same attacks of TextAttack: examples a minute, queries, accuracy under attack, on one victim.

    NLTK_DATA=build/data/nltk_data python benchmarks/attack_throughput.py --victim runs/standard \\
        --data build/data/sst2/test.csv --neighbours build/data/lexical/counterfitted_neighbors.json \\
        --textattack /path/to/python/of/its/environment --rounds 3

TextAttack needs an environment of its own; `textattack_side.py` says which versions work.

Every measurement is a process of its own with the same number of threads; those of one recipe take turns, round by
round, so that a change of the machine's mood hits all of them; medians are reported, ratios are medians of the rounds'
ratios. Importing, loading and three other examples to warm up are not timed. Both sides have the same examples (a
sample of the file, rightly and wrongly classified alike), stop words and synonyms, no word-vector and no
sentence-encoder constraint. TextAttack runs twice: as shipped, which fills every text up to the tokenizer's maximum
length (on the first 40 of the examples), and with texts filled up to the longest of the batch.

The victim's own best throughput is that of bare forward passes over the texts that the attack asked about, tokenised,
sorted by length and batched before the clock starts, with the best of several batch sizes; the share of it is taken
round by round as well.
On a processor that does not multiply bfloat16, attacks are measured in float32 alone.
`foreign_cores`: how many processor cores were busy with something else meanwhile.
Writes benchmarks/results/attack_throughput.json; single measurements also as they come, to --log.
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from throughput_summary import figures, summarise

RESULTS = Path(__file__).parent / "results"
RECIPES = ("deepwordbug", "textfooler", "pwws")
SHIPPED_EXAMPLES = 40
SEED = 0
WARM = 3
"""Examples outside the sample that each process attacks before the clock starts."""
BUDGETS = {"bfloat16": (1_024, 2_048, 4_096, 8_192, 16_384), "float32": (1_024, 4_096)}
"""Padded tokens in a batch, of which the best counts."""
FORWARD_TEXTS = 4_096
"""Of the texts asked about, so many are drawn to measure the victim alone."""
EMULATED_TEXTS = 64
"""The same in a format that the processor does not multiply."""


# one measurement, in a process of its own


def sparring_side(options: argparse.Namespace) -> dict[str, Any]:
    """Attack the rows with this library; what `textattack_side.py` gives, and the texts that the victim answered."""
    import torch

    from sparring.attack import attack

    torch.set_num_threads(options.threads)
    data, rows = read_data(options.data), read_rows(options.rows)
    victim = load_victim(options)
    recipe = build_recipe(options)
    number = victim.model.config.label2id
    pairs = [(row["text"], number[row["label"]]) for row in data]
    chosen = set(rows)
    others = [row for row in range(len(data)) if row not in chosen][:WARM]
    attack(victim, [pairs[row] for row in others], recipe, seed=options.seed)

    victim.quick = recorder = Recorder(victim.quick)
    began = time.perf_counter()
    results = attack(victim, [pairs[row] for row in rows], recipe, seed=options.seed)
    seconds = time.perf_counter() - began
    options.texts.write_text(json.dumps(recorder.items))
    work = results.work
    inside = {name: s for name, s in work.seconds.items() if name in (recorder.name, victim.exact.name)}
    return {
        "lines": [
            {
                "row": rows[outcome.row],
                "status": {"success": "successful"}.get(outcome.status, outcome.status),
                "original": outcome.original[0],
                "adversarial": (outcome.adversarial or outcome.original)[0],
                "queries": outcome.queries,
            }
            for outcome in results.outcomes
        ],
        "seconds": seconds,
        "victim_seconds": sum(inside.values()),
        "seconds_by_service": work.seconds,
        "victim_calls": work.rounds,
        "victim_texts": len(recorder.items),
        "repeats": sum(outcome.repeats for outcome in results.outcomes),
        "largest_batch": max(recorder.batches),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("sparring", "torch", "transformers")},
        "recipe": results.recipe,
    }


def build_recipe(options: argparse.Namespace) -> Any:
    """The recipe as TextAttack has it, with the synonyms of both sides; the stop words are this library's on both."""
    from sparring.attack import recipes

    if options.recipe == "deepwordbug":
        return recipes.deepwordbug(variant="textattack", seed=options.seed)
    if options.recipe == "pwws":
        return recipes.pwws(variant="textattack")
    return recipes.textfooler(variant="textattack", synonyms=options.neighbours, without=("word_cosine", "similarity"))


def load_victim(options: argparse.Namespace) -> Any:
    """The victim with candidates answered in the given precision."""
    from sparring.attack.victim import as_victim

    return as_victim(str(options.victim), half=options.precision == "bfloat16")


class Recorder:
    """A service that keeps what it was asked."""

    def __init__(self, service: Any) -> None:
        self.service, self.name, self.remembered = service, service.name, service.remembered
        self.items: list[tuple[str, ...]] = []
        self.batches: list[int] = []

    def answer(self, items: Any) -> Any:
        self.items += items
        self.batches.append(len(items))
        return self.service.answer(items)


def forward_side(options: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of bare forward passes over recorded texts: {"texts", "tokens", "best", "by_budget"}."""
    import numpy as np
    import torch

    from sparring.model.load import fast_bf16

    torch.set_num_threads(options.threads)
    texts = [tuple(item) for item in json.loads(options.texts.read_text())]
    slow = options.precision == "bfloat16" and not fast_bf16()
    most, budgets = (EMULATED_TEXTS, (1_024,)) if slow else (FORWARD_TEXTS, BUDGETS[options.precision])
    if len(texts) > most:
        chosen = np.random.default_rng(SEED).choice(len(texts), most, replace=False)
        texts = [texts[i] for i in sorted(chosen)]
    victim = load_victim(options)
    model = victim.fast
    encoded = victim.encode(texts)
    found = {}
    for budget in budgets:
        victim.tokens = budget
        batches = [inputs for _, inputs in victim.batches(encoded)]
        with torch.inference_mode():
            for inputs in batches[:: max(1, len(batches) // 4)]:
                model(**inputs)
            began = time.perf_counter()
            for inputs in batches:
                model(**inputs)
            found[budget] = len(texts) / (time.perf_counter() - began)
    return {
        "texts": len(texts),
        "tokens_mean": float(np.mean([len(ids) for ids in encoded["input_ids"]])),
        "by_budget": found,
        "best": max(found.values()),
    }


# the driver


class Bench:
    """Runs measurements in turns and keeps them."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.stopwords = folder / "stopwords.txt"
        from sparring.attack.stopwords import STOPWORDS

        self.stopwords.write_text("\n".join(sorted(STOPWORDS)))
        rows = sample(len(read_data(options.data)), options.examples)
        self.rows = {"all": folder / "rows.txt", "few": folder / "few.txt"}
        self.rows["all"].write_text("\n".join(map(str, rows)))
        self.rows["few"].write_text("\n".join(map(str, rows[:SHIPPED_EXAMPLES])))
        self.runs: list[dict[str, Any]] = []
        self.forward: list[dict[str, Any]] = []

    def textattack(self, recipe: str, padding: str, turn: int) -> None:
        """One run of TextAttack."""
        output = self.folder / "textattack.jsonl"
        command = [str(self.options.textattack), str(Path(__file__).with_name("textattack_side.py"))]
        command += [*self._common(recipe, "few" if padding == "shipped" else "all", turn), "--padding", padding]
        foreign = self._run([*command, "--warm", str(WARM), "--output", str(output)])
        *lines, summary = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        self._book(recipe, f"textattack {padding}", turn, lines, {**summary, "foreign_cores": foreign})

    def sparring(self, recipe: str, precision: str, turn: int) -> None:
        """One run of this library."""
        found = self._self("sparring", recipe, precision, turn)
        self._book(recipe, f"sparring {precision}", turn, found.pop("lines"), found)

    def alone(self, recipe: str, precision: str, turn: int) -> None:
        """The victim by itself over the texts of the last run of this library."""
        found = self._self("forward", recipe, precision, turn)
        self.forward.append({"recipe": recipe, "precision": precision, "round": turn, **found})
        self._log({"kind": "forward", **self.forward[-1]})

    def _self(self, side: str, recipe: str, precision: str, turn: int) -> dict[str, Any]:
        output = self.folder / f"{side}.json"
        command = [sys.executable, __file__, "--side", side, "--precision", precision, "--output", str(output)]
        command += [*self._common(recipe, "all", turn), "--texts", str(self.folder / "texts.json")]
        foreign = self._run(command)
        return {**json.loads(output.read_text()), "foreign_cores": foreign}

    def _common(self, recipe: str, rows: str, turn: int) -> list[str]:
        pairs = {
            "victim": self.options.victim,
            "data": self.options.data,
            "neighbours": self.options.neighbours,
            "rows": self.rows[rows],
            "stopwords": self.stopwords,
            "recipe": recipe,
            "threads": self.options.threads,
            "seed": turn,
        }
        return [part for name, value in pairs.items() for part in (f"--{name}", str(value))]

    def _run(self, command: list[str]) -> float:
        """Run a process to its end; cores that were busy with something else meanwhile, on average."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads), "HF_HUB_OFFLINE": "1"}
        busy, own, began = busy_seconds(), children_seconds(), time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        wall = time.perf_counter() - began
        return round(max(0.0, busy_seconds() - busy - (children_seconds() - own)) / wall, 2)

    def _book(self, recipe: str, side: str, turn: int, lines: list[dict[str, Any]], found: dict[str, Any]) -> None:
        self.runs.append({"recipe": recipe, "side": side, "round": turn, **figures(lines, found)})
        self._log({"kind": "run", **self.runs[-1], "lines": lines})

    def _log(self, record: dict[str, Any]) -> None:
        shown = {name: value for name, value in record.items() if name != "lines"}
        print(json.dumps(shown), flush=True)
        if self.options.log:
            with self.options.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


# small things


def read_data(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_rows(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def sample(rows: int, examples: int) -> list[int]:
    """Row numbers, always the same, in random order."""
    import numpy as np

    return [int(row) for row in np.random.default_rng(SEED).permutation(rows)[:examples]]


def busy_seconds() -> float:
    """Processor seconds that the machine has spent on anything but idling, stolen ones included."""
    try:
        user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor seconds of the processes that this one has run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def processor() -> str:
    """Its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    """Measure in turns, print and write; or, with --side, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", type=Path, required=True, help="folder of a run, or of a Hugging Face classifier")
    parser.add_argument("--data", type=Path, required=True, help="csv with text and label")
    parser.add_argument("--neighbours", type=Path, required=True, help="json: word to list of synonyms")
    parser.add_argument("--textattack", type=Path, help="Python of the environment with TextAttack; none: leave it out")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shipped-rounds", type=int, default=1, help="of TextAttack as shipped, which is slow")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log", type=Path, help="file for single measurements with what became of each example")
    parser.add_argument("--output", type=Path, default=RESULTS / "attack_throughput.json")
    one = parser.add_argument_group("one measurement (the driver gives these)")
    one.add_argument("--side", choices=["sparring", "forward"])
    one.add_argument("--recipe", choices=RECIPES)
    one.add_argument("--precision", choices=list(BUDGETS))
    one.add_argument("--rows", type=Path)
    one.add_argument("--stopwords", type=Path)
    one.add_argument("--texts", type=Path)
    one.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.side:
        found = (sparring_side if options.side == "sparring" else forward_side)(options)
        options.output.write_text(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        for turn in range(options.rounds):
            for recipe in options.recipes.split(","):
                play_round(bench, recipe, turn)
                write(bench)
    for row in summarise(bench.runs, bench.forward):
        print(json.dumps(row, indent=1))


def play_round(bench: Bench, recipe: str, turn: int) -> None:
    """All measurements of one recipe, one after the other."""
    from sparring.model.load import fast_bf16

    if bench.options.textattack:
        bench.textattack(recipe, "dynamic", turn)
    if fast_bf16():
        bench.sparring(recipe, "bfloat16", turn)
        bench.alone(recipe, "bfloat16", turn)
    if bench.options.textattack and turn < bench.options.shipped_rounds:
        bench.textattack(recipe, "shipped", turn)
    bench.sparring(recipe, "float32", turn)
    if not fast_bf16():  # for the record: what this processor makes of a format that it does not multiply
        bench.alone(recipe, "bfloat16", turn)
    bench.alone(recipe, "float32", turn)


def write(bench: Bench) -> None:
    """The record, with what has been measured so far."""
    options = bench.options
    record = {
        "command": " ".join(["python", "benchmarks/attack_throughput.py", *map(_short, sys.argv[1:])]),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": options.threads},
        "python": platform.python_version(),
        "data": options.data.parent.name + "/" + options.data.name,
        "examples": options.examples,
        "summary": summarise(bench.runs, bench.forward),
        "runs": bench.runs,
        "victim_alone": bench.forward,
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")


def _short(argument: str) -> str:
    """Paths by their last two parts: a record names no machine's folders."""
    path = Path(argument)
    return "/".join(path.parts[-2:]) if path.is_absolute() else argument


if __name__ == "__main__":
    main()
