"""Write docs/results: what the records of each study say about its claim. `--check` changes nothing and fails if stale.

    python docs/build_results.py [--check]

Every number comes from studies/NAME/records.jsonl or, where a study has not been run yet, from the records of
benchmarks/results that are about the same claim. A study without records has a page that says so.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import claims
from claims import Book
from forest import drawn, forest, told
from older import adpmixup_table, benchmark, benchmark_trade_offs, older_runs
from prices import HEAD as PRICES
from prices import SAID, costs, machine_of
from tabled import aligned
from verdicts import NONE, RULE, Verdict

from sparring.study.figures import group_of
from sparring.study.records import RECORDS
from sparring.study.sentences import SCALES, count, ends, listed
from sparring.study.summary import Cell, Group, Measure
from sparring.study.tables import MARKS, Markdown

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FILES = ROOT / "studies"
TO = Markdown()
KINDS = (".md", ".svg")
BOLD = re.compile(r"\*\*(?:is )?(.+?)\*\*")


@dataclass(frozen=True)
class Page:
    """One claim: what its page says that is not in the records."""

    name: str
    title: str
    claim: str
    studies: Sequence[str]
    full: str
    limits: Sequence[str]
    paper: Sequence[str]


def adpmixup_verdict(books: Sequence[Book]) -> Verdict:
    """From the study if it has been run, else from the records of the benchmark."""
    for book in books:
        known = ",".join(str(arm["mix"]["attacks"]) for arm in book.study["arms"].values() if "mix" in arm)
        by_task = {}
        for group in book.groups:
            by_task[book.place(group)] = claims.trade_offs(book, group)
            by_task[f"{book.place(group)} under unknown attacks"] = claims.trade_offs(
                book, group, without=known.split(",")
            )
        found = claims.adpmixup(by_task, book.size)
        if found.sentence:
            costs = [(cost.arm, cost.train_seconds.mean) for cost in book.summary.costs if cost.train_seconds]
            arms = ("adpmixup", "plain")
            return with_cost(found, {arm: [value for name, value in costs if name == arm] for arm in arms})
    lines, by_task = benchmark("mixture_on_real_data"), benchmark_trade_offs()
    if not by_task:
        return NONE
    tasks = dict.fromkeys(one["task"] for one in lines)
    seeds = [f"{task} ({count(len({one['seed'] for one in lines if one['task'] == task}), 'seed')})" for task in tasks]
    rows = listed(sorted({f"{one['settings']['rows']:,}" for one in lines}))
    size = f"{rows} training rows of {listed(seeds)}, minilm; each seed has its own test rows"
    models = ("adpmixup", "union", "plain")
    seconds = {name: [one["training_seconds"] for one in lines if one["model"] == name] for name in models}
    return with_cost(claims.adpmixup(by_task, size), seconds)


def with_cost(found: Verdict, seconds: Mapping[str, Sequence[float]]) -> Verdict:
    """The verdict with how long trainings took, on average over data and seeds."""
    known = [f"{np.mean(values):.0f} s ({name})" for name, values in seconds.items() if values]
    if not found.sentence or not known:
        return found
    return replace(found, more=(*found.more, f"Training took {listed(known)}, on average over data and seeds."))


DECIDE: Mapping[str, Callable[[Sequence[Book]], Verdict]] = {
    "mat": claims.mat,
    "alum": lambda books: claims.alum(books[0]) if books else NONE,
    "cat": claims.cat,
    "adpmixup": adpmixup_verdict,
    "families": lambda books: claims.families(books[0]) if books else NONE,
    "confidence": claims.confidence,
}
OLDER: Mapping[str, Callable[[], list[str]]] = {
    "mat": lambda: older_runs(("standard", *claims.RIVALS, "mat")),
    "alum": lambda: older_runs(("standard", "alum")),
    "cat": lambda: older_runs(("standard", "fgm", "cat")),
    "adpmixup": adpmixup_table,
}
PAGES = {name: Page(name, **one) for name, one in yaml.safe_load((DOCS / "claims.yaml").read_text("utf-8")).items()}


# a page


@cache
def book_at(folder: Path) -> Book:
    """A study: read once, also where several pages are about it."""
    return Book(folder)


def books_of(page: Page, root: Path) -> list[Book]:
    """The studies of a page that have a plan and records."""
    folders = [root / "studies" / name for name in page.studies]
    return [book_at(folder) for folder in folders if (folder / RECORDS).exists() and (folder / "plan.json").exists()]


@cache
def verdict_of(name: str, root: Path) -> Verdict:
    """What the records say of a claim."""
    return DECIDE[name](books_of(PAGES[name], root))


def opening(page: Page, root: Path) -> str:
    """The first sentence: whether the claim held here, at which size, with which uncertainty; and what is missing."""
    books = books_of(page, root)
    found = verdict_of(page.name, root).sentence
    missing = sum(book.missing for book in books)
    if not found:
        state = (
            f"{count(missing, 'job')} still to be done"
            if books
            else "its study is in the repository, its records are not"
        )
        return f"**Not run yet here**: {state}."
    if not books:
        return f"{found} This is from older records: the study itself has not been run yet here."
    absent = [name for name in page.studies if name not in {book.folder.name for book in books}]
    parts = [found]
    parts += [f"Not finished: {count(missing, 'job')} still to be done."] if missing else []
    parts += [f"Not run yet here: {listed(absent)}."] if absent else []
    return " ".join(parts)


def text_of(page: Page, root: Path) -> str:
    """The whole page."""
    books = books_of(page, root)
    verdict = verdict_of(page.name, root)
    more = [" ".join(verdict.more), ""] if verdict.more else []
    out = [f"# {page.title}", "", opening(page, root), "", *told(f"{page.name}.svg", *drawn(verdict.pairs, books))]
    out += [*more, "## The claim", "", page.claim, ""]
    for book in books:
        out += figures(book, attacked=page.name == "confidence") + searched(book)
    if verdict.pairs:
        head = ["comparison", "difference", "95 % interval", "p after Holm", "verdict"]
        out += ["## What the verdict rests on", "", RULE, ""]
        out += aligned(head, [[TO.text(cell) for cell in pair.line] for pair in verdict.pairs])
    for book in books:
        for question in book.summary.questions if page.name == "families" else ():
            out += [f"## {TO.text(question.text)}", "", TO.text(question.answer), ""]
            out += [*(f"- {TO.text(claim.sentence)}" for claim in question.evidence), ""]
    out += OLDER[page.name]() if page.name in OLDER else []
    out += how(page, books)
    out += [
        f"## Limits of what {'was' if verdict.sentence else 'is to be'} run",
        "",
        *(f"- {one}" for one in page.limits),
        "",
    ]
    out += ["## What the paper did otherwise", "", *(f"- {one}" for one in page.paper), ""]
    path = f"studies/full/{page.full}.yaml"
    study = yaml.safe_load((FILES / "full" / f"{page.full}.yaml").read_text("utf-8"))
    models, seeds = listed(study["models"]), count(len(study["seeds"]), "seed")
    out += [
        "## At full size",
        "",
        f"`{path}`: {models}, full data size of {listed(list(study['data']))}, {seeds}. **It was not run here.** Tests "
        "plan it with tiny models and rows, so that it starts as it is.",
    ]
    return "\n".join(out).rstrip() + "\n"


def figures(book: Book, *, attacked: bool) -> list[str]:
    """Tables of a study: the metric of each task by arm, and accuracy under attack where it was attacked.

    attacked: those tasks alone.
    """
    cells = {(cell.group, cell.arm, cell.measure): cell for cell in book.summary.cells}
    if not cells:
        return []
    out = [f"## Figures of the study {TO.text(book.study['name'])}", ""]
    out += [
        "Means over seeds with 95 % intervals (of a bootstrap over seeds and rows: too narrow where few seeds vary "
        f"much); shares in %. {MARKS['better'][0]} better and "
        f"{MARKS['worse'][0]} worse than {TO.text(book.study['baseline'])}, after Holm over all figures of the same "
        "data and budget; the comparisons that the verdict rests on are corrected among themselves.",
        "",
    ]
    for budget in book.study["budgets"]:
        groups = [group for group in book.groups if group.budget == budget and book.home(group) is not None]
        groups = [group for group in groups if book.attacks(group) or not attacked]
        measures = [(group, measure) for group in groups if (measure := book.home(group)) is not None]
        out += [
            f"**At equal {budget}**",
            "",
            *_figures(book, cells, [(g, m, f"{book.place(g)}, {m.metric}") for g, m in measures]),
        ]
        for group in groups:
            others = [m for m in book.figures.measures(group) if m.what not in ("clean", "transfer")]
            for part in (others[i : i + 6] for i in range(0, len(others), 6)):
                out += [
                    f"{TO.text(book.place(group))}:",
                    "",
                    *_figures(book, cells, [(group, m, m.title) for m in part]),
                ]
    out += alike(book)
    if rows := costs(book):
        out += [SAID, "", *aligned(PRICES, rows)]
    return out


def alike(book: Book) -> list[str]:
    """How many models have the same rows right, as those have that give every text one class."""
    answers: dict[Group, dict[int, Counter[str]]] = {}
    for job in book.jobs:
        result = book.records.done.get(job.id, {}).get("result", {})
        if job.kind == "score" and not job.settings["cross_domain"] and "correct" in result:
            answers.setdefault(group_of(job), {}).setdefault(job.seed, Counter())[result["correct"]] += 1
    said = []
    for group, by_seed in answers.items():
        parts = [
            f"{max(one.values())} of {one.total()} models of seed {seed}"
            for seed, one in sorted(by_seed.items())
            if max(one.values()) > 2
        ]
        if parts:
            said.append(f"{TO.text(book.place(group))} at equal {group.budget}: {listed(parts)}")
    if not said:
        return []
    return [
        "Models that are right on exactly the same rows, as those are that give every text one class; that such arms "
        f"are equal says nothing of what was done to them: {'; '.join(said)}.",
        "",
    ]


def _figures(
    book: Book, cells: Mapping[tuple[Group, str, Measure], Cell], columns: Sequence[tuple[Group, Measure, str]]
) -> list[str]:
    rows, of = [], len(book.study["seeds"])
    for arm in book.summary.arms:
        own = [cells.get((group, arm, measure)) for group, measure, _ in columns]
        if any(own):
            rows.append([TO.text(arm), *(figure(cell, of) for cell in own)])
    return aligned(["arm", *(TO.text(title) for _, _, title in columns)], rows)


def figure(cell: Cell | None, of: int) -> str:
    """ "85.1 (82.0 to 88.0) ▲"; "85.1 (82.0 to 88.0), one seed" where others are still to come."""
    if cell is None:
        return ""
    metric, spread = cell.measure.metric, cell.spread
    scale, digits = (1, 3) if metric in SCALES else (100, 1)
    interval = spread.bootstrap_interval or spread.t_interval
    text = f"{scale * spread.mean:.{digits}f}" + ("" if interval is None else f" ({ends(interval, metric)})")
    mark = "" if cell.comparison is None else MARKS[cell.comparison.verdict][0]
    seeds = len(spread.values)
    return f"{text} {mark}".strip() + ("" if seeds == of else f", {count(seeds, 'seed')}")


def search_of(study: str) -> str | None:
    """The study that searched the settings of a study of the repository; None if nothing was searched."""
    tuned = yaml.safe_load((FILES / f"{study}.yaml").read_text("utf-8")).get("tuned")
    return tuned and Path(tuned).parent.name


def searched(book: Book) -> list[str]:
    """What a search tried and chose for the study, if it is there."""
    search = search_of(book.folder.name)
    path = book.folder.parent / str(search) / "chosen.json"
    if search is None or not path.exists():
        return []
    chosen = json.loads(path.read_text("utf-8"))["chosen"]
    rows = []
    for one in chosen:
        settings = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in one["settings"].items()
        )
        scores = ", ".join("failed" if trial["score"] is None else f"{trial['score']:.3f}" for trial in one["trials"])
        rows.append(
            [TO.text(str(cell)) for cell in (one["data"], one["budget"], one["arm"], settings, one["metric"], scores)]
        )
    head = ["data", "budget", "arm", "chosen", "metric", "scores of the trials"]
    about = f"Chosen on development rows, every arm tried equally often; records: `studies/{search}/records.jsonl`."
    return [f"## Settings of {TO.text(book.study['name'])} that were searched", "", about, "", *aligned(head, rows)]


def how(page: Page, books: Sequence[Book]) -> list[str]:
    """Commands, settings, records."""
    commands = list[str]()
    for name in page.studies:
        search = search_of(name)
        if search is not None:
            commands += [f"sparring study run studies/{search}.yaml", f"sparring study choose studies/{search}"]
        commands.append(f"sparring study run studies/{name}.yaml")
    commands += [f"sparring report studies/{name}" for name in page.studies]
    out = ["## How it is run", "", "```", *commands, "python docs/build_results.py", "```", ""]
    files = listed([f"`studies/{name}.yaml`" for name in page.studies])
    out += [
        f"Arms, data, seeds and settings stand in {files}. The data is not part of a clone: "
        "[what goes where](../data.md); `sparring report` needs the records alone.",
        "",
    ]
    for book in books:
        done, study = len(book.records.done), book.study
        data = ", ".join(f"{name} {spec.get('limit', 'all')}" for name, spec in study["data"].items())
        given = ", ".join(f"{name} {value}" for name, value in {**study["train"], **study["budgets"]}.items())
        out += [
            f"{TO.text(study['name'])}: models {TO.text(listed(list(study['models'])))}; seeds "
            f"{', '.join(map(str, study['seeds']))}; training rows: {TO.text(data)}; {TO.text(given)}. {done} of "
            f"{len({job.id for job in book.jobs})} jobs done, on {machines(book)}: "
            f"`studies/{book.folder.name}/{RECORDS}`; `sparring report studies/{book.folder.name} --format csv` names "
            "the records behind each figure.",
            "",
        ]
    return out


def machines(book: Book) -> str:
    """Where the jobs were done: the GPU's name where there was one, else the processor's."""
    count: dict[str, int] = {}
    for record in book.records.done.values():
        name = machine_of(record)
        count[name] = count.get(name, 0) + 1
    return listed([f"{TO.text(name)} ({number})" for name, number in sorted(count.items())])


# everything


def pages(root: Path = ROOT) -> dict[str, str]:
    """File name -> text of all pages and pictures. root: where `studies` lies."""
    book_at.cache_clear()
    verdict_of.cache_clear()
    found = {f"{page.name}.md": text_of(page, root) for page in PAGES.values()}
    for page in PAGES.values():
        shown, _ = drawn(verdict_of(page.name, root).pairs, books_of(page, root))
        found |= {f"{page.name}.svg": forest(shown)} if shown else {}
    said = [(page, opening(page, root)) for page in PAGES.values()]
    rows = [[f"[{page.title}]({page.name}.md)", "; ".join(BOLD.findall(text)), text] for page, text in said]
    found["index.md"] = "\n".join(
        [
            "# Does it hold? Claims of papers, tested here",
            "",
            "Each page opens with what our own records say of a claim, at which size and how surely. The pages are "
            "generated from the records of the studies; a claim that has not been tested says so.",
            "",
            *aligned(["claim", "verdict", "what decides"], rows, numbers=False),
            RULE,
            "",
            "Where settings are searched, it is on development rows, with equally many trials for every arm, plain "
            "training among them.",
            "",
        ]
    )
    return found


def main() -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is not what it would be")
    options = parser.parse_args()
    folder = DOCS / "results"
    folder.mkdir(exist_ok=True)
    texts = pages()
    stale = [
        name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text
    ]
    stale += [path.name for path in folder.iterdir() if path.suffix in KINDS and path.name not in texts]
    if options.check:
        if stale:
            sys.exit(f"out of date, run docs/build_results.py: {', '.join(sorted(stale))}")
        return 0
    for name in stale:
        (folder / name).unlink(missing_ok=True)
        if name in texts:
            (folder / name).write_text(texts[name], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
