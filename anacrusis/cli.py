"""The front door: the command line `anacrusis`.

Every command finds its home folder by ``--home`` or ``ANACRUSIS_HOME`` and reports as a table, or as JSON with
``--json FILE``. Exit codes: 0 done; 1 a failure of ours, or of the home (busy, unreachable, damaged); 2 wrong usage,
input or configuration; 3 done in part, what was refused is listed.
"""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from anacrusis import (
    commands_backfill,
    commands_bench,
    commands_catalogue,
    commands_demo,
    commands_doctor,
    commands_evaluate,
    commands_feedback,
    commands_index,
    commands_query,
    commands_refresh,
    commands_serve,
    commands_space,
    commands_status,
    commands_token,
    commands_top,
)
from anacrusis.console import say
from anacrusis.context import EXIT_FAILURE, EXIT_USAGE, Context
from anacrusis.logs import begin_logging
from anacrusis.settings import SettingsError, let_waiting_threads_sleep, load_settings

# Nothing that the caller wrote is to blame, and the same words may well do the next time.
_NO_USAGE_ERRORS = frozenset(
    {"HOME_BUSY", "LEASE_LOST", "PUBLISHED_MEANWHILE", "REFRESH_STOPPED", "HOME_UNREACHABLE", "HOME_DAMAGED"}
    | {"UNAVAILABLE", "DEADLINE_EXCEEDED", "DRAINING", "QUEUE_FULL", "RATE_LIMITED"}  # a server that is away, or busy
    | {"METRICS_UNREACHABLE"}
    | {"AUDIT_UNWRITABLE", "HOME_FULL", "DECODER_UNAVAILABLE"}
)

app = typer.Typer(
    help="Gives a track its place in a recommender's collaborative space before its first listen.",
    epilog="Exit codes: 0 done; 1 a failure of ours or of the home; 2 wrong usage, input or configuration; "
    "3 done in part.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def configure(
    context: typer.Context,
    home: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Home folder of tables, models and indexes, or s3://BUCKET/PREFIX (or ANACRUSIS_HOME).",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML configuration file (or ANACRUSIS_CONFIG).")] = None,
) -> None:
    """Give a track its place in a recommender's collaborative space before its first listen."""
    settings = load_settings(config)
    begin_logging(settings.log_level, settings.log_format)
    context.obj = Context(settings, home or settings.home, config)


commands_demo.register(app)
commands_serve.register(app)
commands_status.register(app)
commands_top.register(app)
commands_catalogue.register(app)
commands_backfill.register(app)
commands_feedback.register(app)
commands_query.register(app)
commands_space.register(app)
commands_index.register(app)
commands_refresh.register(app)
commands_doctor.register(app)
commands_bench.register(app)
commands_evaluate.register(app)
commands_token.register(app)


def main() -> None:
    """Run the command line and turn errors into a sentence and an exit code."""
    let_waiting_threads_sleep()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title that the terminal cannot show must not end a report
    try:
        app()
    except SettingsError as error:
        say(f"anacrusis: {error}")
        sys.exit(EXIT_USAGE)
    except Exception as error:
        if isinstance(error, _callers_errors()):
            reason = getattr(error, "reason", "")
            say(f"anacrusis: {error} [{reason}]")
            sys.exit(EXIT_FAILURE if reason in _NO_USAGE_ERRORS else EXIT_USAGE)
        # Anything else is ours, and whoever reports it needs the traceback.
        logging.getLogger("anacrusis").exception("unexpected failure")
        sys.exit(EXIT_FAILURE)


def _callers_errors() -> tuple[type[Exception], ...]:
    """Import the roots of what a caller can cause, once something did go wrong: the rooms are heavy.

    An attribute `reason` alone tells nothing: UnicodeDecodeError has one, too.
    """
    from anacrusis.scrapes import ScrapeError
    from artist_transfer import TransferError
    from encoders import EncoderError
    from grpc_service.audit import AuditError
    from grpc_service.client_errors import ClientError
    from grpc_service.options import InvalidServerOptionError
    from grpc_service.private_files import PrivateFileError
    from grpc_service.server import AddressError
    from grpc_service.tokens import TokenNameError
    from index import StoreError
    from jobs import JobError, RefreshStoppedError

    return (
        AddressError,
        AuditError,
        ClientError,
        EncoderError,
        InvalidServerOptionError,
        JobError,
        PrivateFileError,
        RefreshStoppedError,
        ScrapeError,
        StoreError,
        TokenNameError,
        TransferError,
    )


if __name__ == "__main__":
    main()
