"""The settings: a TOML file, overridden by the environment. The only reader of either.

Precedence, highest first: command-line options, ``ANACRUSIS_*`` variables, the TOML file named by ``--config`` or
``ANACRUSIS_CONFIG``, the defaults below. A section's key is written with two underscores in the environment:
``ANACRUSIS_SERVER__PORT=50051``; several folders are joined by colons.
An unknown key or a wrong value is an error, never ignored.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from encoders import AudioLimits
from grpc_service.access_options import AccessOptions, LimitOptions, TlsOptions
from grpc_service.options import ServerOptions
from grpc_service.watch_options import MetricsOptions, TracingOptions

ENV_PREFIX = "ANACRUSIS_"
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class RetentionSettings:
    """Which snapshots and spaces are kept: the part of `index.Retention` that is a matter of taste.

    It stands here because that room is heavy, and the settings are read before it is known what is asked for.

    Attributes
    ----------
    snapshots : int
        So many of the way back are kept however old they are, 1 or more.
    days : float
        What was built, served or imported within so many days is kept, 0 to 36500.
    """

    snapshots: int = 5
    days: float = 14.0

    def __post_init__(self) -> None:
        if self.snapshots < 1:
            raise ValueError(f"{self.snapshots} snapshots cannot be kept; keep 1, the published one, or more")
        if not 0 <= self.days <= 36_500:
            raise ValueError(f"snapshots cannot be kept for {self.days} days; give 0 to 36500")


@dataclass(frozen=True)
class ClientSettings:
    """How commands that ask a server connect to it; see `grpc_service.client.Client`.

    Attributes
    ----------
    tls : bool
        Whether to encrypt where no file is named.
    ca, certificate, key : Path or None
        PEM files: the authorities that the server's certificate is checked by; one's own certificate and its key.
    server_name : str
        The name that the server's certificate is for, where it is not the address's.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key go together; give both, or neither")


# The sections are the rooms' own option classes, so that a limit is written down, explained and checked once.
for _section in (
    AccessOptions,
    AudioLimits,
    ClientSettings,
    LimitOptions,
    MetricsOptions,
    RetentionSettings,
    ServerOptions,
    TlsOptions,
    TracingOptions,
):
    setattr(_section, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010  # pydantic's hook, unknown to mypy


class SettingsError(Exception):
    """The configuration, or an option, cannot be used; the message names it, what is wrong with it, and the remedy."""


class Settings(BaseSettings):
    """Everything that can be set.

    Attributes
    ----------
    home : str or None
        The home folder of tables, models and indexes: a local one, or ``s3://BUCKET/PREFIX``.
    cache : Path or None
        Where copies of an object store's indexes are kept between runs; None: in a temporary folder.
    encoder : str
        ``musicnn-msd``, ``musicnn-mtt`` or ``transformers:FOLDER``.
    device : {"auto", "cpu", "cuda"}
        Where the encoder, the transfer and the search run; ``auto`` takes a GPU where there is one.
    index_kind : {"auto", "flat_fp16", "ivf_fp16"}
        The kind of index that refreshes build; ``auto`` goes by the number of tracks and the device.
    log_level : {"debug", "info", "warning", "error"}
        Least severe message that is logged.
    log_format : {"text", "json"}
        Lines for people, or JSON objects, one a line.
    token : SecretStr or None
        What commands that ask a server say who they are by.
    access : grpc_service.access_options.AccessOptions
        Whom a server lets in.
    audio : encoders.AudioLimits
        What audio is taken.
    client : ClientSettings
        How commands that ask a server connect to it.
    limits : grpc_service.access_options.LimitOptions
        How much one caller may ask of a server.
    retention : RetentionSettings
        Which snapshots and spaces are kept.
    server : grpc_service.options.ServerOptions
        Where and how the server listens.
    tls : grpc_service.access_options.TlsOptions
        What encrypts the server's port.
    metrics : grpc_service.watch_options.MetricsOptions
        Where the server tells its metrics.
    tracing : grpc_service.watch_options.TracingOptions
        Where its traces go.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: str | None = None
    cache: Path | None = None
    encoder: str = "musicnn-msd"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    index_kind: Literal["auto", "flat_fp16", "ivf_fp16"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    token: SecretStr | None = None
    access: AccessOptions = AccessOptions()
    audio: AudioLimits = AudioLimits()
    client: ClientSettings = ClientSettings()
    limits: LimitOptions = LimitOptions()
    retention: RetentionSettings = RetentionSettings()
    server: ServerOptions = ServerOptions()
    tls: TlsOptions = TlsOptions()
    metrics: MetricsOptions = MetricsOptions()
    tracing: TracingOptions = TracingOptions()

    @model_validator(mode="before")
    @classmethod
    def _read_variables(cls, values: Any) -> Any:
        """Take several folders from one variable the way PATH does, joined by colons; and a table as JSON."""
        access = values.get("access") if isinstance(values, dict) else None
        if isinstance(access, dict) and isinstance(access.get("certificates"), str):
            values = {**values, "access": {**access, "certificates": json.loads(access["certificates"])}}
        server = values.get("server") if isinstance(values, dict) else None
        if isinstance(server, dict) and isinstance(server.get("allowed_roots"), str):
            roots = tuple(server["allowed_roots"].split(os.pathsep))
            return {**values, "server": {**server, "allowed_roots": roots}}
        return values

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment go before the file, whose values arrive as arguments."""
        return env_settings, init_settings


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    config : Path, optional
        A TOML file; where none is given, the one that ``ANACRUSIS_CONFIG`` names, if any.

    Returns
    -------
    Settings
        Checked and frozen.

    Raises
    ------
    SettingsError
        For a file that is missing or no TOML, an unknown key or variable, or a value outside its bounds.
    """
    if config is None and os.environ.get(f"{ENV_PREFIX}CONFIG"):
        config = Path(os.environ[f"{ENV_PREFIX}CONFIG"])
    _refuse_unknown_variables()
    values = _read_toml(config) if config is not None else {}
    try:
        return Settings(**values)
    except ValidationError as error:
        where = f"{config} or the environment" if config else "the environment"
        lines = [f"{_key(problem['loc'])}: {_sentence(problem)}" for problem in error.errors()]
        raise SettingsError(f"The configuration from {where} cannot be used: " + "; ".join(lines)) from None
    except ValueError as error:  # a section's variable that is no JSON, and the like
        raise SettingsError(f"The configuration cannot be used: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise SettingsError(f"There is no configuration file at {path}.")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise SettingsError(f"The configuration file {path} is larger than {MAX_CONFIG_BYTES} bytes.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # TOML that is none, bytes that are no UTF-8, numbers of thousands of digits
        raise SettingsError(f"The configuration file {path} is no TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"The configuration file {path} is nested too deeply.") from None


def _refuse_unknown_variables() -> None:
    """pydantic-settings passes over variables that match no field; a misspelt one would silently do nothing."""
    known = {"CONFIG"}
    for name, field in Settings.model_fields.items():
        if is_dataclass(field.annotation):
            known |= {f"{name}__{key.name}".upper() for key in fields(field.annotation)}
        else:
            known.add(name.upper())
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and variable.removeprefix(ENV_PREFIX) not in known:
            raise SettingsError(
                f"The environment variable {variable} names no setting; the names are "
                f"{', '.join(ENV_PREFIX + name for name in sorted(known))}."
            )


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _sentence(problem: Any) -> str:
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "there is no such key"
    if problem["type"] == "value_error":  # the option class has a sentence of its own
        return str(problem["ctx"]["error"])
    if problem["loc"][0] == "token":  # shown nowhere, however wrong
        return "write it as a text"
    found = repr(problem["input"])[:200]
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]} (found {found})"


def keep_ray_quiet() -> None:
    """Have Ray neither report its use to its makers nor log what its own processes tell each other.

    It reads both from the environment alone; whoever has set these variables keeps them.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait for work, or for each other, where they would spin.

    A server's cores have other things to do: its event loop, other processes. A thread that spins keeps them from it,
    and perhaps the very thread that it waits for. OpenMP reads the environment when it is loaded, so this comes before
    FAISS and torch; whoever has set one of these variables keeps what it says.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
