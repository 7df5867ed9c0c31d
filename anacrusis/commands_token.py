"""Commands on bearer tokens: token add, list, revoke."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from anacrusis.console import report, say, table
from anacrusis.context import Context, Json, shared
from anacrusis.settings import SettingsError
from grpc_service.roles import Role
from grpc_service.tokens import PREFIX, Token, add_token, read_tokens, revoke_token

TokensFile = Annotated[
    Path | None, typer.Option("--file", help="The file of tokens (default: the setting access.tokens).")
]
Name = Annotated[str, typer.Argument(help="Whose token it is: letters, digits, '.', '_', '@' and '-'.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    token = typer.Typer(
        no_args_is_help=True,
        help="Bearer tokens: who may call a server, and what for.",
        pretty_exceptions_enable=False,
    )
    token.command()(add)
    token.command("list")(list_)
    token.command()(revoke)
    app.add_typer(token, name="token")


def add(
    context: typer.Context,
    name: Name,
    role: Annotated[
        str,
        typer.Option(
            help="read (ask), ingest (bring in tracks and feedback, too) or admin (withdraw and refresh, too)."
        ),
    ],
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500.0, help="Expires after so many (default: never).")
    ] = None,
    file: TokensFile = None,
    json_to: Json = None,
) -> None:
    """Make a token and print it, once: it is kept nowhere. Running servers take it within a second."""
    if role not in Role.names():
        raise SettingsError(f"There is no role {role!r}; name one of {', '.join(Role.names())}.")
    if json_to is not None and str(json_to) != "-":
        raise SettingsError("A token is written into no file that others may read; give --json - and keep what comes.")
    expires = None
    if days is not None:
        expires = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).replace(microsecond=0)
    with _recording(shared(context), "token add", name=name, role=role, expires=expires and expires.isoformat()):
        secret, made = add_token(_file(shared(context), file), name, Role.of(role), expires=expires)
    if not report(json_to, {**_shown(made), "token": secret}):
        print(secret)
    until = f", expires {made.expires.isoformat()}" if made.expires is not None else ""
    say(f"token of {name}, role {role}{until}: keep it now, it is not shown again")


def list_(context: typer.Context, file: TokensFile = None, json_to: Json = None) -> None:
    """List whose tokens there are, their roles, and what each begins with; never the tokens."""
    tokens = [_shown(one) for one in read_tokens(_file(shared(context), file)).values()]
    if not report(json_to, {"tokens": tokens}):
        table(
            "",
            ("name", "role", "begins with", "created", "expires"),
            [[text or "" for text in one.values()] for one in tokens],
        )


def revoke(context: typer.Context, name: Name, file: TokensFile = None) -> None:
    """Refuse a token from now on; running servers do within a second, and cut off what is in progress under it."""
    with _recording(shared(context), "token revoke", name=name):
        gone = revoke_token(_file(shared(context), file), name)
    say(f"the token of {gone.name}, role {gone.role.name.lower()}, is revoked")


def _file(shared_with: Context, given: Path | None) -> Path:
    path = given or shared_with.settings.access.tokens
    if path is None:
        raise SettingsError("No file of tokens is named; give --file FILE, or set access.tokens in the settings.")
    return path


def _shown(token: Token) -> dict[str, str | None]:
    return {
        "name": token.name,
        "role": token.role.name.lower(),
        "begins_with": PREFIX + token.public,
        "created": token.created.isoformat(),
        "expires": None if token.expires is None else token.expires.isoformat(),
    }


@contextmanager
def _recording(shared_with: Context, name: str, /, **what: object) -> Iterator[None]:
    """Write it into the audit log, where one is named, or there is a home that has one: tokens need neither."""
    home = shared_with.home
    if shared_with.settings.access.audit is None and (home is None or not Path(home).is_dir()):
        yield
        return
    with shared_with.recording(home, name, **what):
        yield
