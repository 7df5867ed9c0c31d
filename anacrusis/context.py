"""What every command shares: the settings, the home folder, the exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anacrusis.settings import Settings, SettingsError

if TYPE_CHECKING:
    from jobs import Engine

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_IN_PART = 3

Home = Annotated[
    Path | None, typer.Option("--home", help="Home folder; here or before the command (or ANACRUSIS_HOME).")
]
Json = Annotated[
    Path | None, typer.Option("--json", help="Write the report to this file as JSON; - is standard output.")
]


@dataclass
class Context:
    """The settings and the home folder of one run.

    Attributes
    ----------
    settings : Settings
        Configuration file and environment.
    home : Path or None
        The home folder, if one was named.
    """

    settings: Settings
    home: Path | None

    def home_folder(self, given: Path | None) -> Path:
        """Return the home folder a command works on.

        Parameters
        ----------
        given : Path or None
            The command's own ``--home``.

        Returns
        -------
        Path
            That one, else the one before the command, else the environment's.

        Raises
        ------
        SettingsError
            When none was named.
        """
        home = given or self.home
        if home is None:
            raise SettingsError("No home folder is named; give --home DIR or set ANACRUSIS_HOME.")
        return home

    def open_engine(self, home: Path | None, *, create: bool = False) -> Engine:
        """Open the home folder for work.

        Parameters
        ----------
        home : Path or None
            The command's own ``--home``.
        create : bool
            Whether a folder that does not exist becomes a new home.

        Returns
        -------
        Engine
            To be closed by the caller, or used as a context manager.
        """
        from jobs import Engine

        return Engine.open(
            self.home_folder(home),
            create=create,
            encoder=self.settings.encoder,
            device=self.settings.device,
            limits=self.settings.audio,
        )


def shared(context: typer.Context) -> Context:
    """Return the `Context` that the front door made."""
    assert isinstance(context.obj, Context)  # set by the callback before any command runs
    return context.obj
