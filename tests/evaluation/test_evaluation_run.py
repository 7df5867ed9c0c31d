"""The whole of an evaluation: its JSON, its page, its sections, and the command."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_benchmark import tables, write_folder
from typer.testing import CliRunner

from anacrusis import cli
from jobs.errors import EvaluationError, ExtraMissingError
from jobs.evaluation import report, run
from jobs.evaluation.baselines.artist_mean import ArtistMean
from jobs.evaluation.context import Check, Context
from jobs.evaluation.machine import machine
from jobs.evaluation.methods import ValJudge
from jobs.evaluation.protocol import MAIN_SLICES, METRICS, slices
from jobs.evaluation.registry import METHODS
from jobs.evaluation.run import evaluate
from jobs.evaluation.wording import METHODS_IN_WORDS, SLICES_IN_WORDS

QUICK = ["popularity", "content_ridge", "artist_mean"]


@pytest.fixture(scope="module")
def result(folder: Path):
    return evaluate(folder, seeds=2, methods=QUICK)


def test_the_json_is_what_was_agreed(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["split"], result["seeds"], result["folder"], result["factors"]) == (
        "cold_test",
        [0, 1],
        "small",
        "given",
    )
    assert list(result["methods"]) == QUICK
    for name in QUICK:
        slices = result["methods"][name]
        assert set(MAIN_SLICES) | {"without_catalogue_content", "content_known", "content_unknown"} <= set(slices)
        for found in slices.values():
            assert set(found) == {"users", *METRICS}
            for metric in METRICS:
                assert 0 <= found[metric]["low"] <= found[metric]["mean"] <= found[metric]["high"] <= 1
        assert result["timing"][name]["fit_s"] > 0
        assert result["timing"][name]["projected_per_s"] > 0
    assert result["chosen"]["artist_mean"][0].keys() == {"reading"}


def test_differences_are_from_the_best_baseline_of_each_slice(result):
    for name, by_metric in result["differences"].items():
        for metric, compared in by_metric.items():
            means = {method: result["methods"][method][name][metric]["mean"] for method in QUICK}
            assert means[compared["reference"]] == max(means.values())
            assert set(compared["methods"]) == set(QUICK) - {compared["reference"]}
            for method, found in compared["methods"].items():
                difference = means[method] - means[compared["reference"]]
                assert found["absolute"]["mean"] == pytest.approx(difference)
                assert found["relative"]["mean"] == pytest.approx(difference / means[compared["reference"]])


class Lucky(ArtistMean):
    """The artist mean and a little noise: depends on its seed."""

    name, by_chance = "lucky", True
    seeds: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        pass

    def fit(self, benchmark, seed):
        assert list(benchmark.splits) == ["cold_val"], "a method was shown the split that is reported"
        self.seeds.append(seed)
        plain = super().fit(benchmark, seed)

        class Noisy:
            chosen: dict[str, float | str] = {"seed": float(seed)}  # noqa: RUF012

            def project(self, tracks):
                means = plain.project(tracks)
                return means + 0.5 * np.random.default_rng(seed).normal(size=means.shape).astype(np.float32)

        return Noisy()


def test_seeds_are_averaged_before_users_are_drawn(benchmark):
    Lucky.seeds.clear()
    context = run.fit_and_judge(benchmark, benchmark.splits["cold_test"], [ArtistMean(), Lucky()], [0, 1, 2])
    assert Lucky.seeds == [0, 1, 2]
    assert (len(context.runs["artist_mean"]), len(context.runs["lucky"])) == (1, 3)
    alone = [
        run.fit_and_judge(benchmark, benchmark.splits["cold_test"], [Lucky()], [seed]).per_user["overall"]["lucky"].ndcg
        for seed in (0, 1, 2)
    ]
    np.testing.assert_allclose(context.per_user["overall"]["lucky"].ndcg, np.mean(alone, axis=0))
    assert [one["seed"] for one in run.summary(context)["chosen"]["lucky"]] == [0.0, 1.0, 2.0]


class Section:
    """Counts the tracks, where popularity was asked for."""

    name = "counting"

    def measure(self, context: Context):
        if "popularity" not in context.runs:
            return {}
        judged = ValJudge(context.benchmark).ndcg(context.runs["popularity"][0].fitted.scores(_val(context)))
        return {"tracks": len(context.split.tracks), "ndcg": judged}

    def markdown(self, result):
        return f"## Counting\n\nThere are {result['tracks']} tracks.\n\n![a plot](counting.png)"

    def plots(self, result, folder):
        from jobs.evaluation.plots import drawing

        with drawing(folder / "counting.png") as (axis,):
            axis.plot([0, result["tracks"]])
        return [folder / "counting.png"]

    def checks(self, result):
        return [Check.at_least("tracks", result["tracks"], 1), Check.at_most("unknown", float("nan"), 1)]


def _val(context: Context):
    return context.benchmark.splits["cold_val"].tracks


def test_a_section_adds_its_part(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "SECTIONS", (Section(),))
    found = evaluate(folder, seeds=1, methods=["popularity"], report_to=tmp_path / "results")
    assert found["sections"]["counting"]["tracks"] > 0
    assert [check["holds"] for check in found["checks"]] == [True, False]
    assert found["checks"][1]["measured"] is None
    page = (tmp_path / "results" / "transfer.md").read_text(encoding="utf-8")
    assert "## Counting" in page
    assert "| tracks |" in page
    without = evaluate(folder, seeds=1, methods=["artist_mean"])
    assert (without["sections"], without["checks"]) == ({}, [])


def test_the_page_and_its_plots(folder: Path, tmp_path: Path, result):
    evaluate(folder, seeds=2, methods=QUICK, report_to=tmp_path)
    page = (tmp_path / "transfer.md").read_text(encoding="utf-8")
    for name in QUICK:
        figures = result["methods"][name]["overall"]["ndcg@20"]
        assert re.search(rf"^\| {name} \| {figures['mean']:.4f} \[", page, re.MULTILINE)
    for plot in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {
        "transfer.md",
        "methods.png",
        "differences.png",
        "warming.png",
    }
    assert result["machine"]["libraries"]["torch"] in page
    assert str(folder.parent) not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all("nan" not in row for row in rows)


def test_a_slice_of_nobody_is_written_as_nobody(tmp_path: Path):
    """All content is known: the slices of unknown content have no user."""
    columns = tables()
    columns["tracks"]["content"] = [content or [0.0] * 6 for content in columns["tracks"]["content"]]
    found = evaluate(
        write_folder(tmp_path / "folder", columns), seeds=1, methods=["artist_mean"], report_to=tmp_path / "page"
    )
    nobody = found["methods"]["artist_mean"]["content_unknown"]
    assert nobody["users"] == 0
    assert nobody["ndcg@20"] == {"mean": None, "low": None, "high": None}
    assert found["differences"]["content_unknown"]["ndcg@20"]["reference"] is None
    json.dumps(found, allow_nan=False)


def test_what_cannot_be_run_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(EvaluationError, match=r"no split 'cold_night'.*cold_test, cold_val"):
        evaluate(folder, "cold_night")
    with pytest.raises(EvaluationError, match="at least 1"):
        evaluate(folder, seeds=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExtraMissingError, match=re.escape("pip install 'anacrusis[evaluate]'")):
        evaluate(folder, report_to=tmp_path)


def command(*arguments: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["anacrusis", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_the_command(folder: Path, tmp_path: Path, capsys, monkeypatch):
    arguments = ("evaluate", folder, "--seeds", 1, "--methods", "artist_mean,popularity")
    code, out, err = command(
        *arguments,
        "--json",
        tmp_path / "r.json",
        "--report",
        tmp_path / "a" / "b",
        capsys=capsys,
        monkeypatch=monkeypatch,
    )
    assert code == 0
    assert "artist_mean" in out
    assert "fit 2/2" in err
    assert (tmp_path / "a" / "b" / "transfer.md").exists()
    written = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    code, out, _ = command(*arguments, "--json", "-", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert json.loads(out)["methods"] == written["methods"]


def test_the_command_refuses(folder: Path, tmp_path: Path, capsys, monkeypatch):
    for arguments, said in [
        ((tmp_path / "nothing",), "BENCHMARK_INVALID"),
        ((folder, "--methods", "magic"), "EVALUATION_INVALID"),
        ((folder, "--methods", ","), "EVALUATION_INVALID"),
        ((folder, "--split", "warm"), "EVALUATION_INVALID"),
        ((folder, "--report", folder / "tracks.parquet"), "cannot be used"),
    ]:
        code, _, err = command("evaluate", *arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert (code, said in err) == (2, True), err
    assert CliRunner().invoke(cli.app, ["evaluate", str(folder), "--seeds", "0"]).exit_code == 2


def test_the_page_says_which_command_wrote_it(folder: Path, tmp_path: Path, capsys, monkeypatch):
    code, _, _ = command(
        *("evaluate", folder, "--seeds", 1, "--methods", "artist_mean, popularity", "--report", tmp_path / "page"),
        capsys=capsys,
        monkeypatch=monkeypatch,
    )
    assert code == 0
    page = (tmp_path / "page" / "transfer.md").read_text(encoding="utf-8")
    assert "the figures flatter" not in page
    typed = "anacrusis evaluate small --split cold_test --seeds 1 --methods 'artist_mean, popularity' --report page"
    assert f"```bash\n{typed}\n```" in page
    assert str(tmp_path) not in page


def test_parts_are_taken_from_what_is_evaluated(folder: Path):
    with pytest.raises(EvaluationError, match="Parts are taken away from anacrusis"):
        evaluate(folder, methods=["artist_mean"], ablation=True)


def test_every_method_and_slice_is_explained(benchmark):
    assert set(METHODS_IN_WORDS) == {method.name for method in METHODS}
    assert set(SLICES_IN_WORDS) == set(slices(benchmark, benchmark.splits["cold_test"]))


def test_figures_of_the_split_that_was_chosen_on_are_called_flattering(folder: Path, tmp_path: Path):
    evaluate(folder, "cold_val", 1, ["popularity"], report_to=tmp_path)
    assert "the figures flatter" in (tmp_path / "transfer.md").read_text(encoding="utf-8")


def test_the_page_begins_with_what_was_found(fitted):
    found = run.summary(fitted) | {"sections": {}, "checks": [], "command": "", "took_s": 3.0}
    found["machine"] = machine()
    head = report._head(found)
    ours = found["methods"]["anacrusis"]["overall"]["ndcg@20"]["mean"]
    reference = found["differences"]["overall"]["ndcg@20"]["reference"]
    assert re.search(rf"In short: .*NDCG@20 overall {ours:.4f} .* from `{reference}`", head)
    assert "It took 3 s" in head
