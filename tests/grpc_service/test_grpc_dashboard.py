"""What `deploy/` asks of a server's metrics is told by a running one, and the alerts come when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_engine import FakeEngine
from grpc_harness import running, until
from prometheus_client.parser import text_string_to_metric_families

from grpc_service import metrics
from grpc_service.client import Client
from grpc_service.client_errors import ClientError
from grpc_service.errors import RULES
from grpc_service.watch_options import MetricsOptions, WatchOptions

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "anacrusis.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in ALERTS]
OF_PROMETHEUS = {"job", "instance", "le"}  # labels that it adds, and that of a bucket
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The labels of every sample that a server tells, by its name."""
    with (
        pytest.MonkeyPatch.context() as patch,
        running(FakeEngine(), watch=WatchOptions(MetricsOptions(port=0))) as server,
        Client(server.address, retries=0) as client,
    ):
        patch.setattr(metrics, "gpu_memory", lambda: [(1, 2)])
        client.ingest("new", audio=b"audio", artist_ids=["a"])
        with pytest.raises(ClientError):
            client.ingest("empty", audio=b"", artist_ids=["a"])
        with pytest.raises(ClientError):
            client.neighbors_of_track("nobody", k=1)

        def scraped() -> dict[str, set[str]]:
            with urllib.request.urlopen(f"http://{server.server.metrics_address}/metrics", timeout=20) as answer:
                families = text_string_to_metric_families(answer.read().decode())
            return {sample.name: set(sample.labels) for family in families for sample in family.samples}

        until(lambda: "anacrusis_refused_queries_total" in scraped())
        return scraped() | {"up": set()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_figure_and_label_that_is_asked_for_is_told(expression: str, told: dict[str, set[str]]) -> None:
    named = re.findall(r"(\b(?:anacrusis|process)_\w+|\bup\b)(?:\{([^}]*)\})?", expression)
    assert named
    for name, matchers in named:
        assert name in told, name
        assert set(re.findall(r'(\w+)!?=~?"', matchers)) <= told[name] | OF_PROMETHEUS
    grouped = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")}
    assert grouped <= set().union(*(told[name] for name, _ in named)) | OF_PROMETHEUS
    reasons = {reason for several in re.findall(r'reason=~?"([^"]*)"', expression) for reason in several.split("|")}
    assert reasons <= RULES.keys() | {"INTERNAL"}


def test_what_is_told_is_shown() -> None:
    """Each figure has a place on the dashboard; those that are derived from the same samples share one."""
    source = (Path(metrics.__file__)).read_text(encoding="utf-8")
    defined = set(re.findall(r'"(anacrusis_\w+)"', source))
    assert len(defined) > 25
    shown = " ".join(EXPRESSIONS)
    assert sorted(name for name in defined if name not in shown) == [
        "anacrusis_last_sync_timestamp_seconds",
        "anacrusis_read_only",
        "anacrusis_withdrawn_tracks",
    ]


def test_the_panels_stand_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_is_tested_and_says_how_urgent_it_is() -> None:
    files = sorted((DEPLOY / "prometheus").glob("*_test.yaml"))
    tested = {
        check["alertname"]
        for path in files
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for check in case["alert_rule_test"]
        if "exp_alerts" in check
    }
    assert tested == {rule["alert"] for rule in ALERTS}
    assert {rule["labels"]["severity"] for rule in ALERTS} == {"page", "ticket"}
    assert all(rule["annotations"].keys() == {"summary", "description"} for rule in ALERTS)


@PROMTOOL
@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yaml"),
        ("test", "rules", "alerts_test.yaml", "alerts_days_test.yaml"),
    ],
    ids=" ".join,
)
def test_prometheus_own_tool_agrees(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@PROMTOOL
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    plain = [expression.replace("$__rate_interval", "5m") for expression in EXPRESSIONS]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(plain)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
