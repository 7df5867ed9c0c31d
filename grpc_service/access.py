"""Who is let in: whose a call is, by token or certificate, whether the role suffices, and whether it is too much."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

import grpc

from grpc_service.access_options import ANY_CERTIFICATE, AccessOptions, LimitOptions
from grpc_service.allowances import Allowances
from grpc_service.callers import CALLER_KEY, Caller
from grpc_service.errors import RateLimitedError, RoleTooLowError, TokenInvalidError, TokenMissingError
from grpc_service.private_files import ChangingFiles, PrivateFileError
from grpc_service.roles import NEEDED, Role
from grpc_service.tokens import Token, find, read_tokens

if TYPE_CHECKING:
    from grpc_service.core import CoreCall

_BEARER = "bearer "
_SOCKET_FILE = "unix:"
_MOST_CERTIFICATE_NAME = 256
_LONGEST_WAIT_S = 86_400.0
_log = logging.getLogger(__name__)


class Access:
    """Decides on every call of a server; `let_in` on gRPC's thread, `reload` on any other one.

    A token is looked for in each call: its one hash costs no more than remembering, by a hash as well, that it was
    right; so nothing that a caller sends is kept.

    Parameters
    ----------
    options : AccessOptions
        With tokens or certificates.
    limits : LimitOptions
        Of each caller.
    trusts_socket : bool
        Whether calls that come by a socket file say who they are from: of the worker that others hand calls on to.
    clock : callable
        Seconds since 1970.

    Raises
    ------
    PrivateFileError
        When the tokens cannot be read.
    """

    def __init__(
        self,
        options: AccessOptions,
        limits: LimitOptions,
        *,
        trusts_socket: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = options.tokens
        self._trusts_socket = trusts_socket
        self._clock = clock
        self._allowances = Allowances(limits)
        self._certified = {
            name: self._caller(f"certificate:{name}", Role.of(role)) for name, role in options.certificates.items()
        }
        self._any_certificate = self._certified.pop(ANY_CERTIFICATE, None)
        self._file = ChangingFiles(*([self._path] if self._path is not None else []))
        self._known: tuple[Mapping[str, Token], Mapping[str, Caller]] = ({}, {})  # swapped by one assignment
        self._known = self._with_callers(self._read())

    def let_in(self, call: CoreCall) -> None:
        """Let a call in, and note whose it is.

        Parameters
        ----------
        call : CoreCall
            That has just come; `CoreCall.caller` is set. Its allowance has begun it, and is told when it has ended.

        Raises
        ------
        TokenMissingError, TokenInvalidError
            When it is nobody's.
        RoleTooLowError
            When the caller may not use the method.
        RateLimitedError
            When the caller asks for too much.
        """
        needed = NEEDED[call.method]
        if needed is None:
            return
        caller = self._caller_of(call)
        if caller.role < needed:
            raise RoleTooLowError(
                f"The role {caller.role.name.lower()} of {caller.name} does not suffice for "
                f"{call.method.rpartition('/')[2]}, which takes {needed.name.lower()}; use a token of that role."
            )
        if caller.allowance is not None and (wait_s := caller.allowance.begin(call)):
            raise RateLimitedError(
                "More was asked under this name than its share; try again later, or ask for a higher limit.",
                retry_after_s=min(max(wait_s, 1e-3), _LONGEST_WAIT_S),
            )
        call.caller = caller

    def reload(self) -> None:
        """Read the tokens again where their file has changed; one that cannot be used is logged, once.

        What is in progress under a token that is gone, or over, is cut off.
        """
        differ, may_differ = self._file.look()
        if may_differ:
            try:
                self._replace(self._read())
            except PrivateFileError as error:
                if differ:  # else it was said before
                    _log.error("the new tokens are not used, and those before still hold: %s", error)
        now = self._clock()
        _cut_off(caller for caller in self._known[1].values() if caller.expires <= now)

    def _replace(self, tokens: Mapping[str, Token]) -> None:
        before, callers = self._known
        if tokens == before:
            return
        self._known = self._with_callers(tokens)
        _log.info("the tokens were read again: there are %d", len(tokens))
        _cut_off(caller for public, caller in callers.items() if self._known[1].get(public) is not caller)

    def _read(self) -> Mapping[str, Token]:
        return {} if self._path is None else read_tokens(self._path)

    def _with_callers(self, tokens: Mapping[str, Token]) -> tuple[Mapping[str, Token], Mapping[str, Caller]]:
        """Give each token its caller: the one that it has, where it has not changed."""
        before, callers = self._known
        return tokens, {
            public: callers[public]
            if before.get(public) == one
            else self._caller(f"token:{one.name}", one.role, one.expires_s)
            for public, one in tokens.items()
        }

    def _caller(self, name: str, role: Role, expires: float = math.inf) -> Caller:
        return Caller(name, role, expires, self._allowances.of(name))

    def _caller_of(self, call: CoreCall) -> Caller:
        sent = ""
        for key, value in call.metadata:
            if key == "authorization" and isinstance(value, str):
                sent = value
            elif key == CALLER_KEY and self._trusts_socket and call.peer().startswith(_SOCKET_FILE):
                return _handed_on(str(value))
        if sent:
            return self._caller_with(sent[len(_BEARER) :] if sent[: len(_BEARER)].lower() == _BEARER else "")
        found = self._caller_certified(call) if self._certified or self._any_certificate else None
        if found is not None:
            return found
        if self._path is None:
            raise TokenMissingError(
                "This server knows its callers by their certificates, and none came whose name it knows; "
                "connect with one that it does."
            )
        raise TokenMissingError("The call has no token; send the metadata 'authorization: Bearer TOKEN'.")

    def _caller_with(self, token: str) -> Caller:
        tokens, callers = self._known
        found = find(tokens, token)
        if found is None:
            raise TokenInvalidError(
                "The token is none that this server takes; it may have been revoked: ask whoever runs the service."
            )
        caller = callers[found.public]
        if caller.expires <= self._clock():
            raise TokenInvalidError("The token has expired; ask whoever runs the service for a new one.")
        return caller

    def _caller_certified(self, call: CoreCall) -> Caller | None:
        """Find the certificate's role: of its names that are known the highest one's, else that of all others."""
        names = call.identities()
        known = [caller for name in names if (caller := self._certified.get(name)) is not None]
        if known:
            return max(known, key=lambda caller: caller.role)
        if not names or self._any_certificate is None:
            return None
        return self._caller(f"certificate:{names[0][:_MOST_CERTIFICATE_NAME]}", self._any_certificate.role)


def _cut_off(callers: Iterable[Caller]) -> None:
    for caller in callers:
        if caller.allowance is not None:
            for call in tuple(caller.allowance.under_way):
                if call.caller is caller:  # and not of another token of the same name
                    call.cut_off(grpc.StatusCode.UNAUTHENTICATED, "The call's token is not taken any more.")


def _handed_on(written: str) -> Caller:
    """Read what another worker of this server found out: it has let the call in, and counted it."""
    role, _, name = written.partition(" ")
    return Caller(unquote(name), Role.of(role))
