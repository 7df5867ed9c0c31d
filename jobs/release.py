"""A release as a delivery pipeline sends it: one track, its credits, its audio."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from index import TrackRecord
from jobs.errors import ReleaseError

ROLES = ("primary", "featured", "remixer")
MAX_ID_CHARACTERS = 256
MAX_TEXT_CHARACTERS = 1024
MAX_CREDITS = 64  # the longest credit lists of compilations and orchestras stay below this
MAX_MARKETS = 300  # ISO 3166 has about 250 codes

_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ][0-9].*)?)?)?", re.ASCII)
_MARKET = re.compile(r"[A-Z]{2}")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}\d{7}")


@dataclass(frozen=True)
class Release:
    """One track as it is delivered.

    Attributes
    ----------
    track_id : str
        The platform's id, 1 to 256 printable characters.
    artist_ids : tuple of str
        Credited artists, the primary one first; at least one.
    audio : bytes or Path
        The encoded file itself, or where it lies on this machine.
    title : str
        As shown to listeners.
    roles : tuple of str
        One of ``primary``, ``featured``, ``remixer`` for each artist. Empty means: the first is primary, the
        others are featured.
    release_date : datetime.date or None
        First day of release; a year or a month alone stands for its first day.
    label, isrc : str or None
        As delivered.
    markets : tuple of str
        ISO 3166-1 alpha-2 codes where the track may be played; empty means everywhere.
    audio_uri : str or None
        Where the audio came from, kept for provenance.
    follow_links : bool
        Whether links on the way to the audio file are followed. False where it was found below an allowed folder, by a
        path without any: a link that stands there now was put there behind the check.

    Raises
    ------
    ReleaseError
        For any field outside these bounds; `field` names it.
    """

    track_id: str
    artist_ids: tuple[str, ...]
    audio: bytes | Path
    title: str = ""
    roles: tuple[str, ...] = ()
    release_date: dt.date | None = None
    label: str | None = None
    markets: tuple[str, ...] = ()
    isrc: str | None = None
    audio_uri: str | None = None
    follow_links: bool = True

    def __post_init__(self) -> None:
        _check_id("track_id", self.track_id)
        if not self.artist_ids:
            raise ReleaseError(
                f"Track {self.track_id!r} credits no artist; give at least one, the primary first.",
                field="artist_ids",
            )
        if len(self.artist_ids) > MAX_CREDITS:
            raise ReleaseError(
                f"Track {self.track_id!r} credits {len(self.artist_ids)} artists; at most {MAX_CREDITS} are taken.",
                field="artist_ids",
            )
        for artist_id in self.artist_ids:
            _check_id("artist_ids", artist_id)
        if len(set(self.artist_ids)) != len(self.artist_ids):
            raise ReleaseError(
                f"Track {self.track_id!r} credits an artist twice; name each artist once, with one role.",
                field="artist_ids",
            )
        object.__setattr__(self, "roles", _complete_roles(self.track_id, self.roles, len(self.artist_ids)))
        for field, text in (("title", self.title), ("label", self.label), ("audio_uri", self.audio_uri)):
            if text is not None:
                _check_text(self.track_id, field, text)
        if len(self.markets) > MAX_MARKETS:
            raise ReleaseError(f"Track {self.track_id!r} lists {len(self.markets)} markets.", field="markets")
        for market in self.markets:
            if not _MARKET.fullmatch(market):
                raise ReleaseError(
                    f"Market {market!r} of track {self.track_id!r} is no ISO 3166-1 alpha-2 code such as 'DE'.",
                    field="markets",
                )
        if self.isrc is not None and not _ISRC.fullmatch(self.isrc):
            raise ReleaseError(
                f"ISRC {self.isrc!r} of track {self.track_id!r} is not of the form CCXXXYYNNNNN; "
                "write it without hyphens, or leave it out.",
                field="isrc",
            )

    def record(self, audio_sha256: str) -> TrackRecord:
        """Return what the store keeps of this release.

        Parameters
        ----------
        audio_sha256 : str
            Hexadecimal SHA-256 of the encoded audio file.

        Returns
        -------
        TrackRecord
            Everything but the audio itself.
        """
        return TrackRecord(
            track_id=self.track_id,
            title=self.title,
            artist_ids=self.artist_ids,
            roles=self.roles,
            release_date=self.release_date,
            label=self.label,
            markets=self.markets,
            isrc=self.isrc,
            audio_sha256=audio_sha256,
            audio_uri=self.audio_uri,
        )


def parse_release_date(text: str, *, last: bool = False) -> dt.date | None:
    """Read ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.

    Parameters
    ----------
    text : str
        The date; empty means unknown. A timestamp such as ``2024-05-01T00:00:00Z`` counts by its day.
    last : bool
        Whether a year or a month stands for its last day instead, as it does at the end of a range.

    Returns
    -------
    datetime.date or None
        The first (or last) day of the period named; None where unknown. Music databases keep partial dates by their
        first day.

    Raises
    ------
    ReleaseError
        When the text is no date.
    """
    text = text.strip()
    if not text:
        return None
    match = _PARTIAL_DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day = (int(part) if part else None for part in match.groups())
        assert year is not None  # the expression has it
        month = month or (12 if last else 1)
        first = dt.date(year, month, 1)
        return first.replace(day=day or (calendar.monthrange(year, month)[1] if last else 1))
    except ValueError:
        raise ReleaseError(
            f"Release date {text!r} is no date; write YYYY-MM-DD, YYYY-MM or YYYY.", field="release_date"
        ) from None


def _check_id(field: str, value: str) -> None:
    if not isinstance(value, str) or not value or len(value) > MAX_ID_CHARACTERS or not value.isprintable():
        shown = repr(value[:40]) if isinstance(value, str) else repr(value)[:40]
        raise ReleaseError(
            f"{field} {shown} is not an id; ids are 1 to {MAX_ID_CHARACTERS} printable characters.",
            field=field,
        )


def _check_text(track_id: str, field: str, text: str) -> None:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ReleaseError(
            f"The {field} of track {track_id!r} has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are taken.",
            field=field,
        )
    if "\x00" in text:
        raise ReleaseError(f"The {field} of track {track_id!r} holds a null character; leave it out.", field=field)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as JSON's \ud800 makes one
        raise ReleaseError(
            f"The {field} of track {track_id!r} is not valid Unicode; send it as UTF-8.", field=field
        ) from None


def _complete_roles(track_id: str, roles: tuple[str, ...], n_artists: int) -> tuple[str, ...]:
    if not roles:
        return ("primary",) + ("featured",) * (n_artists - 1)
    if len(roles) != n_artists:
        raise ReleaseError(
            f"Track {track_id!r} has {n_artists} artists but {len(roles)} roles; give one role for each artist.",
            field="roles",
        )
    for role in roles:
        if role not in ROLES:
            raise ReleaseError(
                f"Role {role!r} of track {track_id!r} is unknown; the roles are {', '.join(ROLES)}.",
                field="roles",
            )
    return roles
