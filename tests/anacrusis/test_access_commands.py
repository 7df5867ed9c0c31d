"""``anacrusis token``, what `serve` refuses, and what the other commands write into the audit log."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from command_line import CommandLine

from anacrusis.settings import SettingsError, load_settings
from grpc_service.client import Client
from grpc_service.tokens import find, read_tokens
from index import Store


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tokens.json"
    monkeypatch.setenv("ANACRUSIS_ACCESS__TOKENS", str(path))
    return path


def audited(path: Path) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(one["who"].startswith("user:") for one in found)
    return [(one["act"], one["outcome"]) for one in found]


def test_a_token_is_printed_once_and_listed_without(anacrusis: CommandLine, tokens: Path) -> None:
    assert anacrusis("token", "add", "radio", "--role", "read") == 0
    secret = anacrusis.out.strip()
    assert secret.startswith("anacrusis_")
    assert secret not in anacrusis.err
    found = find(read_tokens(tokens), secret)
    assert found is not None
    assert (found.name, found.role.name, found.expires) == ("radio", "READ", None)
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    added = anacrusis.json("token", "add", "delivery", "--role", "ingest", "--days", "30")
    assert (added["name"], added["role"]) == ("delivery", "ingest")
    assert find(read_tokens(tokens), str(added["token"])) is not None
    listed = anacrusis.json("token", "list")["tokens"]
    assert [(one["name"], one["role"], bool(one["expires"])) for one in listed] == [  # type: ignore[attr-defined]
        ("radio", "read", False),
        ("delivery", "ingest", True),
    ]
    assert anacrusis("token", "list") == 0
    assert "delivery" in anacrusis.out
    assert secret[:18] in anacrusis.out  # no secret: it tells which one it is that leaked
    assert secret not in anacrusis.out
    assert anacrusis("token", "revoke", "radio") == 0
    assert [one.name for one in read_tokens(tokens).values()] == ["delivery"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a", "--role", "root"), "no role 'root'"),
        (("add", "a b", "--role", "read"), "TOKEN_NAME"),
        (("add", "a", "--role", "read", "--json", "token.json"), "--json -"),
        (("revoke", "nobody"), "TOKEN_NAME"),
        (("list",), "ACCESS_FILE"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(
    anacrusis: CommandLine, tokens: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert anacrusis("token", *arguments) == 2
    assert said in anacrusis.err
    assert not tokens.exists()


def test_without_a_file_of_tokens_there_is_nothing_to_do(anacrusis: CommandLine) -> None:
    assert anacrusis("token", "list") == 2
    assert "access.tokens" in anacrusis.err


def test_serve_is_refused_beyond_the_loopback(
    anacrusis: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = ("--home", tmp_path / "home", "serve", "--host", "0.0.0.0", "--port", "0")
    assert anacrusis(*serve) == 2
    assert "TLS" in anacrusis.err
    assert "callers" in anacrusis.err
    assert anacrusis(*serve, "--insecure") == 2
    monkeypatch.setenv("ANACRUSIS_SERVER__INSECURE", "true")
    assert anacrusis(*serve) == 2
    assert anacrusis(*serve, "--workers", "2") == 2
    assert "one is missing" in anacrusis.err
    assert not (tmp_path / "home").exists()


def test_serve_names_a_file_that_it_cannot_use_before_it_begins(
    anacrusis: CommandLine, tmp_path: Path, tokens: Path
) -> None:
    assert anacrusis("--home", tmp_path / "home", "serve", "--port", "0") == 2
    assert str(tokens) in anacrusis.err
    tokens.write_text("{}")
    tokens.chmod(0o644)
    assert anacrusis("--home", tmp_path / "home", "serve", "--port", "0") == 2
    assert "chmod 600" in anacrusis.err
    assert not (tmp_path / "home").exists()


def test_what_administrators_command_is_written_down(anacrusis: CommandLine, home: Path) -> None:
    assert anacrusis("--home", home, "withdraw", "ada-0", "--reason", "rights") == 0
    with Store.open(home) as store:  # as if a track had moved: something to build another snapshot for
        space_id = store.published().space_id
        (row,) = store.served_vectors(space_id, ["ada-1"]).values()
        store.replace_served(space_id, [row], as_of=store.fresh_version(space_id))
    assert anacrusis("--home", home, "refresh", "--all") == 0
    assert anacrusis("--home", home, "space", "rollback") == 0
    assert anacrusis("--home", home, "space", "publish", space_id) == 0
    assert anacrusis("--home", home, "space", "rollback", "--to", "nothing") == 2
    assert anacrusis("--home", home, "refresh", "--dry-run") == 0
    assert audited(home / "audit.jsonl") == [
        *(("withdraw", outcome) for outcome in ("begun", "done")),
        *(("refresh", outcome) for outcome in ("begun", "done")),
        *(("space rollback", outcome) for outcome in ("begun", "done")),
        *(("space publish", outcome) for outcome in ("begun", "done")),
        *(("space rollback", outcome) for outcome in ("begun", "failed")),
    ]
    line = json.loads((home / "audit.jsonl").read_text().splitlines()[0])
    assert line["what"] == {"track_ids": ["ada-0"], "reason": "rights"}


def test_what_cannot_be_written_down_is_not_commanded(
    anacrusis: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANACRUSIS_ACCESS__AUDIT", str(home / "none" / "audit.jsonl"))
    assert anacrusis("--home", home, "withdraw", "ada-0") == 1
    assert "AUDIT_UNWRITABLE" in anacrusis.err
    monkeypatch.delenv("ANACRUSIS_ACCESS__AUDIT")
    assert anacrusis("--home", home, "neighbors", "--track", "ada-0") == 0


def test_tokens_are_written_down_without_themselves(anacrusis: CommandLine, tokens: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert anacrusis("--home", tmp_path / "home", "token", "add", "radio", "--role", "read") == 0
    secret = anacrusis.out.strip()
    assert anacrusis("--home", tmp_path / "home", "token", "revoke", "radio") == 0
    log = tmp_path / "home" / "audit.jsonl"
    assert [act for act, _ in audited(log)] == ["token add"] * 2 + ["token revoke"] * 2
    assert secret not in log.read_text()


def test_status_says_who_asks_and_shows_it_to_nobody(
    anacrusis: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[dict[str, object]] = []
    init = Client.__init__

    def noted(self: Client, address: str, **options: object) -> None:
        made.append(options)
        init(self, address, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "__init__", noted)
    monkeypatch.setenv("ANACRUSIS_TOKEN", "anacrusis_secret")
    anacrusis("status", "--address", "127.0.0.1:1", "--timeout-s", "0.2")
    assert made[0]["token"] == "anacrusis_secret"
    assert "anacrusis_secret" not in anacrusis.out + anacrusis.err
    assert "anacrusis_secret" not in repr(load_settings())
    assert anacrusis("status", "--address", "10.0.0.1:1", "--timeout-s", "0.2") == 2
    assert "plain text" in anacrusis.err
    monkeypatch.setenv("ANACRUSIS_CLIENT__CA", str(tmp_path / "none.pem"))
    assert anacrusis("status", "--address", "10.0.0.1:1", "--timeout-s", "0.2") == 2
    assert "none.pem cannot be read" in anacrusis.err


def test_a_token_of_the_wrong_kind_is_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "anacrusis.toml"
    config.write_text("token = 8472938479")
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    assert "8472938479" not in str(caught.value)


def test_the_sections_come_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "anacrusis.toml"
    config.write_text(
        '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\nclient_ca = "ca.pem"\n'
        '[access.certificates]\n"radio.example" = "read"\n[limits]\ncalls_per_s = 7\n'
    )
    monkeypatch.setenv("ANACRUSIS_LIMITS__BURST_S", "3")
    monkeypatch.setenv("ANACRUSIS_TLS__CLIENT_CA", "other.pem")
    found = load_settings(config)
    assert found.access.certificates == {"radio.example": "read"}
    assert (found.limits.calls_per_s, found.limits.burst_s) == (7, 3.0)
    assert found.tls.client_ca == Path("other.pem")
    monkeypatch.delenv("ANACRUSIS_TLS__CLIENT_CA")
    monkeypatch.setenv("ANACRUSIS_ACCESS__CERTIFICATES", '{"*": "ingest"}')
    assert load_settings().access.certificates == {"*": "ingest"}
    config.write_text('[tls]\ncertificate = "c.pem"\n')
    with pytest.raises(SettingsError, match=r"tls\.key is missing"):
        load_settings(config)
