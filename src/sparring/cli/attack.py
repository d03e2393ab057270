"""sparring attack, sparring recipes"""

import inspect
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text as Styled

from ..errors import SettingError
from ..settings import assignments
from .console import MAIN_PROCESS, AsJson, bar, clean, out, print_json, quiet, say

recipes_app = typer.Typer(help="The attack recipes: list them, show one with its constants.", rich_markup_mode=None)
SHOWN = {
    "transform": "transform",
    "constraints": "constraint",
    "stand_ins": "stand in",
    "off": "off",
    "differs": "differs from the paper",
    "ignored": "ignored",
}

OF_DATA = ("data", "split", "column", "label", "examples", "output", "resume", "calibrated", "calibrate_on", "transfer")
"""Options that say nothing of a sentence."""
OF_ATTACKS = (
    "frozen",
    "resume",
    "calibrated",
    "calibrate_on",
    "budget",
    "variant",
    "synonyms",
    "masked_lm",
    "without",
    "set",
)
"""And those that say nothing where no recipe is run."""


def attack(
    context: typer.Context,
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run folders, model folders or hub names; several are compared.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The same as one RUN, for use with --text.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Attack this sentence (twice for a pair) and show what changed.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipes, separated by commas; see `sparring recipes`. Default: deepwordbug, or none with --transfer."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Labelled data; default: the run's held-out data.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a task, hub data set or the demo.")] = None,
    column: Annotated[str | None, typer.Option(help="Text column, or two separated by a comma.")] = None,
    label: Annotated[str | None, typer.Option(help="Label column.")] = None,
    examples: Annotated[int | None, typer.Option(help="Attack this many rows, drawn with a fixed seed.", min=1)] = None,
    frozen: Annotated[
        list[int] | None, typer.Option(help="Number of a text column that stays as it is, from 0; a premise is 0.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of lines, results and report.")] = Path("attacks"),
    resume: Annotated[bool, typer.Option(help="Go on with what is in --output.")] = False,
    calibrated: Annotated[
        bool, typer.Option(help="Attack a second time at the victim's best temperature, and report the minimum.")
    ] = False,
    calibrate_on: Annotated[
        str | None, typer.Option(help="--calibrated, fitted to these labelled data; default: to the attacked rows.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Most queries an example; default: no limit.")] = None,
    variant: Annotated[str, typer.Option(help="paper, or textattack where that toolkit differs.")] = "paper",
    synonyms: Annotated[
        str | None, typer.Option(help="counterfitted, wordnet, minilm, victim, or a file of vectors or neighbours.")
    ] = None,
    masked_lm: Annotated[str | None, typer.Option(help="Masked language model: a folder or hub name.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave a constraint off; the results say so.")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the recipes, such as --set k=8; repeatable.")
    ] = None,
    transfer: Annotated[
        list[Path] | None,
        typer.Option(
            help="Score these adversarial rows, made against another victim; nothing else unless --recipe is named."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random draw.", min=0)] = 0,
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where fast; successes verified in fp32) or fp32.")
    ] = "auto",
    json: AsJson = False,
) -> None:
    """Attack trained models with changed texts; say how often they hold."""
    victims = [*(runs or []), *([model] if model else [])]
    if not victims:
        raise SettingError("there is nothing to attack: name a run folder, or a model with --model")
    if precision not in ("auto", "fp32"):
        raise SettingError(f"--precision is {precision!r}; choose auto or fp32")
    if budget is not None and budget < 1:
        raise SettingError(f"--budget is {budget}; the first query is that of the original text, so give 1 or more")
    if text:
        _refuse(context, OF_DATA, "--text attacks one sentence and shows it (--column names text columns of --data)")
    if recipe is None:
        recipe = "" if transfer else "deepwordbug"
    names = [name.strip() for name in recipe.split(",") if name.strip()]
    if transfer and not names:
        _refuse(context, OF_ATTACKS, "no recipe is named, and --transfer alone only scores its rows")
    options: dict[str, Any] = {}
    if names or not transfer:
        options = recipe_options(names, variant, synonyms, masked_lm, without or [], seed, set or [])
    quiet()
    from ..attack.recipes import recipe as build
    from ..attack.recipes import takes

    for option, value in (("synonyms", synonyms), ("masked_lm", masked_lm)):
        if value and names and not any(takes(name, option) for name in names):
            flag = f"--{option.replace('_', '-')}"
            raise SettingError(
                f"{flag} {value}: none of {', '.join(names)} takes it; leave it out, or name a recipe that does"
            )
    half = None if precision == "auto" else False
    built = tuple(build(name, **options) for name in names)
    if text:
        _one(victims, text, built, budget=budget, seed=seed, half=half, frozen=tuple(frozen or ()), as_json=json)
        return
    from ..evaluate.attacks import AttackJob, attack_job

    job = AttackJob(
        victims=tuple(victims),
        recipes=built,
        data=data,
        split=split,
        text=tuple(part.strip() for part in column.split(",")) if column else None,
        label=label,
        examples=examples,
        frozen=tuple(frozen or ()),
        budget=budget,
        calibrated=calibrated or calibrate_on is not None,
        calibrate_on=calibrate_on,
        seed=seed,
        half=half,
        output=output,
        resume=resume,
        transfer=tuple(transfer or ()),
        command=shlex.join(["sparring", *sys.argv[1:]]),
    )
    with bar("attack", shown=not json and MAIN_PROCESS) as tick:
        progress = None
        if tick is not None:
            progress = lambda title, done, total, broken: tick(done, total, f"{title}: {broken} broken")  # noqa: E731
        record = attack_job(job, progress=progress)
    if not MAIN_PROCESS:
        return
    if json:
        print_json(record)
        return
    for victim in record["victims"]:
        _show_victim(victim, titled=len(record["victims"]) > 1)
    for line in record.get("comparison", []):
        found = line["result"]
        say(
            f"{line['attack']}: {line['a']} {_share(found['a'])}, {line['b']} {_share(found['b'])} on the same "
            f"{found['examples']} examples, exact McNemar p = {found['p']:.3g} (other seeds may differ)"
        )
    reports = [output] if len(victims) == 1 else [output / Path(victim).name for victim in victims]
    for folder in reports:
        if (folder / "report.html").is_file():
            out.print(f"report: {escape(clean(str(folder / 'report.html')))}", soft_wrap=True)


def _refuse(context: typer.Context, options: tuple[str, ...], why: str) -> None:
    """SettingError for options that were given and would do nothing."""
    sources = [(f"--{option.replace('_', '-')}", context.get_parameter_source(option)) for option in options]
    given = [flag for flag, source in sources if source is not None and source.name != "DEFAULT"]
    if given:
        raise SettingError(f"{', '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out")


def recipe_options(
    names: list[str],
    variant: str,
    synonyms: str | None,
    masked_lm: str | None,
    without: list[str],
    seed: int,
    pairs: list[str],
) -> dict[str, Any]:
    """What the recipes are built with, checked before anything is loaded."""
    from ..attack.recipes import RECIPES, without_of
    from ..settings import nearest

    for name in names:
        if name not in RECIPES:
            raise SettingError(f"there is no recipe '{name}'; {nearest(name, RECIPES)}")
    if not names:
        raise SettingError("no recipe named; see `sparring recipes`")
    if variant not in ("paper", "textattack"):
        raise SettingError(f"--variant is {variant!r}; choose paper or textattack")
    options: dict[str, Any] = {"variant": variant, "seed": seed}
    options |= {"without": without_of(*without)}
    options |= {"synonyms": synonyms} if synonyms else {}
    options |= {"masked_lm": masked_lm} if masked_lm else {}
    known = {name: p for recipe in names for name, p in inspect.signature(RECIPES[recipe]).parameters.items()}
    for name, value in assignments(pairs).items():
        if name not in known:
            raise SettingError(f"none of {', '.join(names)} has an option '{name}'; {nearest(name, known)}")
        options[name] = _typed(name, value, known[name])
    return options


def _typed(name: str, value: str, parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise SettingError(f"--set {name}={value}: write true or false")
        return value.lower() == "true"
    if isinstance(default, int) or parameter.annotation == (int | None):
        try:
            number = int(value)
        except ValueError:
            raise SettingError(f"--set {name}={value}: write a whole number") from None
        if number < (0 if name == "seed" else 1):
            raise SettingError(f"--set {name}={value}: write 1 or more")
        return number
    return value


def _show_victim(record: dict[str, Any], *, titled: bool) -> None:
    for note in record["notes"]:
        say(f"  {note}", "dim")
    if record["attacks"]:
        say(
            f"  {record['data']['rows']} examples, shares in %; words: how many of them were changed in a success; "
            "queries: mean",
            "dim",
        )
    if titled:
        out.print(f"[bold]{escape(clean(record['victim']))}[/bold]")
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True, padding=(0, 1))
    for heading in ("recipe", "clean", "under attack", "broken", "words", "queries", "similar"):
        table.add_column(heading, justify="left" if heading == "recipe" else "right", no_wrap=True)
    for entry in record["attacks"]:
        s = entry["summary"]
        low, high = s["attacked_interval"]
        table.add_row(
            _title(entry),
            _percent(s["clean_accuracy"]),
            _with_interval(s["accuracy_under_attack"], low, high),
            _percent(s["success_rate"]),
            _percent(s["changed_share"]),
            f"{s['queries_mean']:.1f}",
            "-" if s["similarity"] is None else f"{s['similarity']:.2f}",
        )
    worst = record["worst_case"]
    if worst is not None:
        table.add_row("worst case", "", _with_interval(worst["accuracy"], worst["low"], worst["high"]))
    if record["attacks"]:
        out.print(table)
    for entry in record["transfer"]:
        share = _with_interval(entry["accuracy"], entry["low"], entry["high"])
        name = escape(clean(Path(entry["file"]).name))
        out.print(
            f"transfer: {name}: {share} % right on {entry['rows']} rows made against another victim", soft_wrap=True
        )
    if record["calibration"] is not None:
        fitted = record["calibration"]
        say(f"  temperature {fitted['temperature']:.3g}, fitted to {fitted['rows']} rows: {fitted['fitted_on']}", "dim")
    for line in record["minimum"] or []:
        out.print(
            f"{line['recipe']}: {_share(line['plain'])} at temperature 1, {_share(line['calibrated'])} calibrated, "
            f"minimum {_share(line['accuracy'])}"
        )
    for entry in record["attacks"]:
        if entry["title"].endswith(".calibrated"):
            continue
        _show_limits(entry)
        if entry["summary"]["violations"]:
            say(
                f"{entry['recipe']}: {entry['summary']['violations']} successes break a constraint when held against "
                "the original text (checked against the current text during the search); the report marks them",
                "yellow",
            )


def _show_limits(entry: dict[str, Any]) -> None:
    """What a result was made without, and with what instead."""
    for kind, key in (("ignored", "ignored"), ("off", "off"), ("stands in", "stand_ins")):
        for name in entry[key]:
            say(f"{entry['recipe']}: {kind}: {name}", "yellow")
    for name in entry["differs"]:
        say(f"{entry['recipe']}: differs from the paper: {name}", "dim")


def _title(entry: dict[str, Any]) -> str:
    return f"{entry['recipe']} T={entry['temperature']:.3g}" if entry["temperature"] != 1 else str(entry["recipe"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{_percent(value)} [dim]({_percent(low)}-{_percent(high)})[/dim]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


# one sentence


def _one(
    victims: list[str],
    fields: list[str],
    recipes: tuple[Any, ...],
    *,
    budget: int | None,
    seed: int,
    half: bool | None,
    frozen: tuple[int, ...],
    as_json: bool,
) -> None:
    """Attack a sentence; its label is what the victim says of it."""
    from ..attack.run import attack as play
    from ..attack.victim import ModelVictim, as_victim

    if not any(field.strip() for field in fields):
        raise SettingError("--text is empty; give a sentence")
    texts, found = tuple(fields), []
    for name in victims:
        victim = as_victim(name, half=half)
        assert isinstance(victim, ModelVictim)  # a name is
        (scores,) = victim.exact.answer([texts])
        names = victim.model.config.id2label  # type: ignore[union-attr]
        for recipe in recipes:
            rows = [(texts, int(scores.argmax()))]
            played = play(victim, rows, recipe, budget=budget, seed=seed, frozen=frozen)
            (outcome,) = played.outcomes
            limits = {key: list(played.recipe[key]) for key in ("off", "stand_ins")}
            limits |= {key: list(getattr(recipe, key)) for key in ("differs", "ignored")}
            record = {"victim": name, "recipe": recipe.name, **limits, **outcome.write()}
            for key in ("label", "predicted", "attacked"):
                record[key] = None if record[key] is None else str(names[record[key]])  # type: ignore[index]
            found.append(record)
    if as_json:
        print_json(found)
        return
    for record in found:
        _show_sentence(record)
        _show_limits(record)
        for name in record["violations"]:
            say(f"{record['recipe']}: breaks a constraint when held against the original text: {name}", "yellow")


def _show_sentence(record: dict[str, Any]) -> None:
    from ..attack.difference import difference, visible

    before = f"{record['predicted']} ({record['gold_before']:.0%})"
    if record["status"] != "success":
        note = f": {record['note']}" if record["note"] else ""
        out.print(f"{record['recipe']}: held, still {escape(clean(before))}, {record['queries']} queries{escape(note)}")
        return
    out.print(
        f"{record['recipe']}: {escape(clean(before))} -> {escape(clean(str(record['attacked'])))}, "
        f"{record['changed']} of {record['words']} words, {record['queries']} queries"
    )
    for old, new in zip(record["original"], record["adversarial"], strict=True):
        line = Styled("  ")
        for kind, part in difference(old, new):
            style = {"deleted": "red strike", "inserted": "green bold"}.get(kind, "")
            shown = visible(part)
            if not out.is_terminal and kind != "same":  # marks instead of colours in a file
                shown = f"[-{shown}-]" if kind == "deleted" else f"{{+{shown}+}}"
            line.append(shown, style=style)
        out.print(line, soft_wrap=True)


# sparring recipes


@recipes_app.callback(invoke_without_command=True)
def _recipes(context: typer.Context, json: AsJson = False) -> None:
    """List the recipes."""
    if context.invoked_subcommand is not None:
        return
    from ..attack.recipes import RECIPES

    rows = [(name, (inspect.getdoc(make) or "").splitlines()[0]) for name, make in RECIPES.items()]
    if json:
        print_json([{"name": name, "summary": text} for name, text in rows])
        return
    table = Table("recipe", "what it is", box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _constants(name: str, variant: str) -> dict[str, Any]:
    """Those of a recipe whose resources are not here: it is built around the gaps, and nothing else of that is told."""
    from types import SimpleNamespace

    from ..attack.recipes import recipe as build
    from ..attack.recipes.parts import CONSTRAINTS

    no_model = SimpleNamespace(name="none", digest="")
    built = build(name, variant=variant, synonyms="victim", masked_lm=no_model, without=CONSTRAINTS)
    return built.describe()["constants"]


@recipes_app.command("show")
def _show(name: str, variant: str = "paper", json: AsJson = False) -> None:
    """What a recipe does, its options, and its constants with their sources."""
    from ..attack.recipes import RECIPES
    from ..errors import SparringError

    recipe_options([name], variant, None, None, [], 0, [])
    from ..attack.recipes import recipe as build

    make = RECIPES[name]
    options = {
        p.name: p.default for p in inspect.signature(make).parameters.values() if p.name not in ("variant", "without")
    }
    problem = None
    try:
        built = build(name, variant=variant)
        described = {**built.describe(), "differs": list(built.differs), "ignored": list(built.ignored)}
    except SparringError as error:
        described, problem = {"recipe": name, "constants": _constants(name, variant)}, str(error)
    if json:
        print_json({**described, "about": inspect.getdoc(make), "options": options, "missing": problem})
        return
    out.print(escape(inspect.getdoc(make) or name))
    out.print()
    table = Table("constant", "value", "source", box=None, header_style="bold")
    for constant, (value, source) in described["constants"].items():
        table.add_row(constant, str(value), source)
    if described["constants"]:
        out.print(table)
    for title in SHOWN:
        value = described.get(title)
        for line in [value] if isinstance(value, str) else value or []:
            out.print(f"{SHOWN[title]}: {escape(line)}")
    if options:
        shown = ", ".join(f"{name}={value!r}" if value != "" else name for name, value in options.items())
        out.print(f"options (--set): {escape(shown)}")
    if problem:
        say(f"missing here: {problem}", "yellow")
