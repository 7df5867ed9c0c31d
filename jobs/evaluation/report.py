"""The page of an evaluation: Markdown tables and plots."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.errors import ExtraMissingError
from jobs.evaluation.benchmark_folder import VALIDATION
from jobs.evaluation.context import Result, Section
from jobs.evaluation.plots import DIFFERENCES_PLOT, METHODS_PLOT, plot_differences, plot_methods
from jobs.evaluation.protocol import MAIN_SLICES, METRICS
from jobs.evaluation.wording import METHODS_IN_WORDS, SLICES_IN_WORDS

PAGE = "transfer.md"
OURS = "anacrusis"


def require_plots() -> None:
    """Refuse a report that could not be drawn in the end.

    Raises
    ------
    ExtraMissingError
        When matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ExtraMissingError(
            "Plots are drawn with the package matplotlib, which is not installed; run "
            "`pip install 'anacrusis[evaluate]'`, or leave the report out and take the JSON."
        )


def write_report(result: Result, measured: Sequence[tuple[Section, Result]], folder: Path) -> list[Path]:
    """Write the page and its plots.

    Parameters
    ----------
    result : dict
        What `run.evaluate` returns.
    measured : sequence of (Section, dict)
        The sections and what they found.
    folder : Path
        Made where it is not there; files of the same names are replaced.

    Returns
    -------
    list of Path
        What was written, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = [plot_methods(result, folder), plot_differences(result, folder)]
    parts = [_head(result), _main_tables(result), _differences(result), _other_tables(result), _timing(result)]
    for section, found in measured:
        plots.extend(section.plots(found, folder))
        parts.append(section.markdown(found))
    parts.append(_checks(result))
    page = folder / PAGE
    page.write_text("\n\n".join(part.strip() for part in parts if part.strip()) + "\n", encoding="utf-8")
    return [page, *plots]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set a table: the first column to the left, the others to the right."""
    ruler = ["---", *("---:" for _ in columns[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, ruler, *rows))


def figure(found: Result, digits: int = 4) -> str:
    """Write a figure with its interval, or a dash where there was nobody to measure."""
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def percentage(found: Result) -> str:
    """Write a relative difference with its interval, or a dash."""
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"


def _head(result: Result) -> str:
    seeds, machine = len(result["seeds"]), result["machine"]
    trained = "" if result["factors"] == "given" else " The collaborative space was trained on the warm entries."
    chosen_on = ""
    if result["split"] == VALIDATION:
        chosen_on = " These are the very tracks that choices were made on, so the figures flatter."
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    parts = [
        "# Where new tracks are placed: methods compared",
        f"Every method is fitted on the warm tracks of the folder `{result['folder']}`, makes its choices on the split "
        f"`cold_val`, and places the tracks of the split `{result['split']}` as if nobody had listened to them yet. "
        "Each user is then shown the 20 of these tracks whose vectors have the largest inner product with the user's "
        "own, and the list is held against what the user listened to afterwards. Recall@20 is the share of it that "
        "stands in the list; NDCG@20 counts what stands near the top for more, 1 being the best possible list. Both "
        f"are means over users and over {seeds} seed{'s' if seeds != 1 else ''} (one for methods without chance); "
        f"brackets hold 95 % bootstrap intervals over users.{trained}{chosen_on}",
    ]
    if result["command"]:
        parts.append(f"```bash\n{result['command']}\n```")
    parts.append(
        f"It took {_duration(result['took_s'])} on {_device(machine)}, {machine['system']}, with Python "
        f"{machine['python']}, {libraries}. Every figure on this page was written by that run."
    )
    return "\n\n".join([*parts, _in_short(result)])


def _in_short(result: Result) -> str:
    """Say in a few sentences how far our own transfer came; nothing where it was not evaluated."""
    if OURS not in result["methods"]:
        return ""
    said = []
    for one in ("overall", "discovery"):
        compared = result["differences"][one]["ndcg@20"]
        if OURS in compared["methods"]:
            said.append(
                f"NDCG@20 {_where(one)} {figure(result['methods'][OURS][one]['ndcg@20'])}, "
                f"{percentage(compared['methods'][OURS]['relative'])} from `{compared['reference']}`, the strongest "
                "baseline there"
            )
    held = sum(check["holds"] for check in result["checks"])
    promises = f"{held} of the {len(result['checks'])} promises [below](#checks) hold." if result["checks"] else ""
    return f"In short: `{OURS}`, the transfer of this project, reaches {'; '.join(said)}. {promises}" if said else ""


def _where(slice_name: str) -> str:
    return slice_name if slice_name == "overall" else f"on {slice_name}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _device(machine: Result) -> str:
    cpus = f"{machine['cpus']} CPU core{'s' if machine['cpus'] != 1 else ''}"
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    return f"{cpus} ({threads})" if machine["device"] == "CPU" else f"{machine['device']}, {cpus}"


def _main_tables(result: Result) -> str:
    parts = ["## Every method"]
    for metric in METRICS:
        parts += [f"### {_metric(metric)}", _table(result, metric, MAIN_SLICES)]
    parts += [
        f"![NDCG@20 by method, with 95 % intervals]({METHODS_PLOT})",
        _list({name: METHODS_IN_WORDS.get(name, "") for name in result["methods"]}),
        "The columns ask different questions:",
        _list({name: SLICES_IN_WORDS[name] for name in MAIN_SLICES}),
    ]
    return "\n\n".join(parts)


def _other_tables(result: Result) -> str:
    every = next(iter(result["methods"].values()))
    others = [name for name in every if name not in MAIN_SLICES]
    parts = ["## Other slices"]
    for metric in METRICS:
        parts += [f"### {_metric(metric)}, other slices", _table(result, metric, others, intervals=False)]
    return "\n\n".join([*parts, _list({name: SLICES_IN_WORDS[name] for name in others})])


def _list(words: Mapping[str, str]) -> str:
    return "\n".join(
        f"- **{name.replace('_', ' ')}**: {text}" if text else f"- **{name}**" for name, text in words.items()
    )


def _table(result: Result, metric: str, slices: Sequence[str], *, intervals: bool = True) -> str:
    def cell(found: Result) -> str:
        return figure(found) if intervals else ("-" if found["mean"] is None else f"{found['mean']:.4f}")

    users = next(iter(result["methods"].values()))
    rows = [[name, *(cell(found[one][metric]) for one in slices)] for name, found in result["methods"].items()]
    rows.append(["users", *(f"{users[one]['users']:,}" for one in slices)])
    return markdown_table(["method", *(one.replace("_", " ") for one in slices)], rows)


def _differences(result: Result) -> str:
    parts = [
        "## Against the strongest baseline",
        "Relative difference, paired by user, from the baseline that is best in that very slice. Chosen by its figures "
        "on the reported split itself, the baseline has the benefit of the doubt.",
    ]
    for metric in METRICS:
        compared = {one: result["differences"][one][metric] for one in MAIN_SLICES}
        rows = [
            [name]
            + [
                percentage(found["methods"][name]["relative"]) if name in found["methods"] else "the reference"
                for found in compared.values()
            ]
            for name in result["methods"]
        ]
        columns = [f"{one.replace('_', ' ')}, from {found['reference'] or '-'}" for one, found in compared.items()]
        parts += [f"### {_metric(metric)}, difference", markdown_table(["method", *columns], rows)]
    parts.append(f"![Relative difference in NDCG@20]({DIFFERENCES_PLOT})")
    return "\n\n".join(parts)


def _timing(result: Result) -> str:
    rows = [
        [
            name,
            f"{found['fit_s']:.1f}",
            f"{found['projected_per_s']:,.0f}",
            "; ".join(f"{key} {_chosen(value)}" for key, value in result["chosen"][name][0].items()) or "nothing",
        ]
        for name, found in result["timing"].items()
    ]
    columns = ["method", "fit, s", "projected tracks a second", "chosen on cold_val (first seed)"]
    said = "Seconds and rates are means over the seeds; the rate is that of the reported split's tracks in one call."
    return f"## Time, and what was chosen\n\n{said}\n\n" + markdown_table(columns, rows)


def _checks(result: Result) -> str:
    if not result["checks"]:
        return ""
    rows = [
        [
            check["name"],
            *("-" if check[one] is None else f"{check[one]:.4g}" for one in ("measured", "bound")),
            "holds" if check["holds"] else "does not hold",
        ]
        for check in result["checks"]
    ]
    held = sum(check["holds"] for check in result["checks"])
    said = f"{held} of {len(rows)} promises hold in this run."
    return f"## Checks\n\n{said}\n\n" + markdown_table(["promise", "measured", "bound", "in this run"], rows)


def _metric(name: str) -> str:
    return name.replace("ndcg", "NDCG").replace("recall", "Recall")


def _chosen(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
