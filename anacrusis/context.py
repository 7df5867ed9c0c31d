"""What every command shares: the settings, the home folder, the exit codes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anacrusis.console import blaming, writable
from anacrusis.settings import Settings, SettingsError

if TYPE_CHECKING:
    from grpc_service.audit import AuditLog
    from grpc_service.client import Client
    from index import Store
    from jobs import Engine, Threads

MAX_SEED = 2**32 - 1  # what every library's generator takes
EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_IN_PART = 3

Home = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="FOLDER",
        help="Home folder, or s3://BUCKET/PREFIX; here or before the command (or ANACRUSIS_HOME).",
    ),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", callback=writable, help="Write the report to this file as JSON; - is standard output."),
]

RayAddress = Annotated[
    str,
    typer.Option(
        "--ray-address", metavar="HOST:PORT", help="A Ray cluster (default: a Ray of its own on this machine)."
    ),
]
Workers = Annotated[
    int,
    typer.Option(min=0, help="Processes that hold a network (default: one a GPU, else one a CPU core)."),
]


IndexKind = Annotated[
    str | None,
    typer.Option(
        "--index-kind",
        help="auto, flat_fp16 or ivf_fp16: the index to build (default: the setting index_kind, auto).",
    ),
]


@dataclass
class Context:
    """The settings and the home folder of one run.

    Attributes
    ----------
    settings : Settings
        Configuration file and environment.
    home : str or None
        The home folder, if one was named.
    config : Path or None
        The configuration file, if an option named one.
    """

    settings: Settings
    home: str | None
    config: Path | None = None

    def home_folder(self, given: str | None) -> str:
        """Return the home folder a command works on.

        Parameters
        ----------
        given : str or None
            The command's own ``--home``.

        Returns
        -------
        str
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

    @contextmanager
    def open_engine(
        self,
        home: str | Path | None,
        *,
        create: bool = False,
        read_only: bool = False,
        project_missing: bool = True,
        threads: Threads | None = None,
    ) -> Iterator[Engine]:
        """Open the home folder for work.

        Parameters
        ----------
        home : str, Path or None
            The command's own ``--home``.
        create : bool
            Whether a folder that does not exist becomes a new home.
        read_only : bool
            Whether nothing is written to it.
        project_missing : bool
            Whether tracks that are stored and not projected are projected at once; not where a refresh follows.
        threads : jobs.Threads, optional
            How the process shares the cores; None leaves the choice to the libraries.

        Yields
        ------
        Engine
            Closed in the end.

        Raises
        ------
        SettingsError
            When no home was named, or the file system refuses it, at once or later.
        """
        from index import Retention
        from jobs import Engine

        with (
            self.naming_home(home) as folder,
            Engine.open(
                folder,
                create=create,
                read_only=read_only,
                encoder=self.settings.encoder,
                device=self.settings.device,
                limits=self.settings.audio,
                retention=Retention(**asdict(self.settings.retention)),
                index_kind=self.settings.index_kind,
                cache=self.settings.cache,
                project_missing=project_missing,
                threads=threads,
            ) as engine,
        ):
            yield engine

    @contextmanager
    def open_store(self, home: str | Path | None) -> Iterator[Store]:
        """Open the tables of the home folder alone: what is served is not loaded, and may be damaged.

        Parameters
        ----------
        home : str, Path or None
            The command's own ``--home``.

        Yields
        ------
        Store
            Closed in the end.

        Raises
        ------
        SettingsError
            When no home was named, or the file system refuses it, at once or later.
        """
        from index import Store

        with self.naming_home(home) as folder, Store.open(folder, cache=self.settings.cache) as store:
            yield store

    def audit_log(self, home: str | Path | None) -> AuditLog:
        """Return where the acts of administrators are written down.

        Parameters
        ----------
        home : str, Path or None
            The command's own ``--home``.

        Returns
        -------
        AuditLog
            The setting's file, else ``audit.jsonl`` in a home on this machine, else standard error.
        """
        from grpc_service.audit import FILE_NAME, AuditLog
        from index import is_object_store

        if self.settings.access.audit is not None:
            return AuditLog(self.settings.access.audit)
        folder = self.home_folder(str(home) if home is not None else None)
        return AuditLog(None if is_object_store(folder) else Path(folder) / FILE_NAME)

    @contextmanager
    def recording(self, home: str | Path | None, name: str, /, **what: object) -> Iterator[None]:
        """Write into the audit log what is done inside, before it begins and behind it.

        Parameters
        ----------
        home : str, Path or None
            The command's own ``--home``, which is there.
        name : str
            The command's name.
        **what : object
            What it is done to, in JSON's types.

        Raises
        ------
        grpc_service.audit.AuditError
            When it cannot be written down; then nothing is done.
        """
        from grpc_service.audit import local_act

        with self.audit_log(home).recording(local_act(name, what)):
            yield

    def client(self, address: str | None, *, timeout_s: float) -> Client:
        """Connect to a server as the settings say.

        Parameters
        ----------
        address : str or None
            None: where `serve` listens here.
        timeout_s : float
            For each call.

        Returns
        -------
        Client
            To be closed.

        Raises
        ------
        SettingsError
            When the settings contradict each other, or one of their files cannot be read.
        """
        from grpc_service.client import Client

        options = self.settings.server
        token = self.settings.token.get_secret_value() if self.settings.token is not None else None
        try:
            return Client(
                address or f"{options.host}:{options.port}",
                timeout_s=timeout_s,
                token=token,
                **asdict(self.settings.client),
            )
        except ValueError as error:
            raise SettingsError(str(error)) from None
        except OSError as error:
            raise SettingsError(f"{error.filename} cannot be read: {error.strerror}; name another file.") from None

    @contextmanager
    def naming_home(self, home: str | Path | None) -> Iterator[str]:
        """Name the home folder for work below it.

        Parameters
        ----------
        home : str, Path or None
            The command's own ``--home``.

        Yields
        ------
        str
            The folder or address.

        Raises
        ------
        SettingsError
            When no home was named, or the file system refuses it, at once or later.
        """
        from index import is_object_store

        folder = self.home_folder(str(home) if home is not None else None)
        # What the file system refuses to an object store's home is the cache, or the folder for temporary files.
        cache = self.settings.cache or Path(tempfile.gettempdir())
        with blaming(cache if is_object_store(folder) else Path(folder)):
            yield folder


def shared(context: typer.Context) -> Context:
    """Return the `Context` that the front door made, once the command's own texts are known to be texts.

    Raises
    ------
    SettingsError
        When an argument holds bytes that are no UTF-8; only paths may.
    """
    for name, value in context.params.items():
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and any("\ud800" <= character <= "\udfff" for character in text):
                raise SettingsError(f"The {name.replace('_', ' ')} {text[:80]!r} is not valid Unicode; give UTF-8.")
    assert isinstance(context.obj, Context)  # set by the callback before any command runs
    return context.obj
