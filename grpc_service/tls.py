"""The certificate of a server's port, read again when its files change."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from grpc_service.access_options import TlsOptions
from grpc_service.private_files import ChangingFiles, PrivateFileError, read_private, read_public

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pem:
    """What the files hold, and until when the certificate does."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    expires_s: float

    def configuration(self) -> Any:
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.client_ca)


class ServerCertificate:
    """A port's certificate and key, and whom it asks for theirs.

    gRPC asks before each handshake whether there is a newer one. A new certificate that is half-written, wrong or
    expired is logged, once, and the one before is served on; when that expires, this is logged, too. Connections that
    stand go on as they are.

    Parameters
    ----------
    options : TlsOptions
        With a certificate and a key.

    Raises
    ------
    PrivateFileError
        When a file cannot be used.
    """

    def __init__(self, options: TlsOptions) -> None:
        assert options.certificate is not None  # the caller looked
        assert options.key is not None  # as the options have seen to
        self._certificate, self._key, self._client_ca = options.certificate, options.key, options.client_ca
        self._changing = threading.Lock()
        self._files = ChangingFiles(*(path for path in (self._certificate, self._key, self._client_ca) if path))
        self._served = self._read()
        self._said_expired = False

    def credentials(self) -> Any:
        """Give what one port is opened with; a second port takes another one.

        Returns
        -------
        grpc.ServerCredentials
        """
        return grpc.dynamic_ssl_server_credentials(
            self._served.configuration(), self.newer, require_client_authentication=self._client_ca is not None
        )

    def newer(self) -> Any:
        """Read the files where they have changed. On a thread of gRPC's.

        Returns
        -------
        grpc.ServerCertificateConfiguration or None
            None where there is nothing new that can be used.
        """
        with self._changing:
            if time.time() >= self._served.expires_s and not self._said_expired:
                self._said_expired = True
                _log.error("the certificate %s has expired, so that no client connects; renew it", self._certificate)
            differ, may_differ = self._files.look()
            if not may_differ:
                return None
            try:
                found = self._read()
                configuration = found.configuration()
            except Exception as error:  # whatever it is, the certificate before still holds
                if differ:  # else it was said before
                    _log.error("the new certificate is not used, and the one before is served on: %s", error)
                return None
            if found == self._served:
                return None
            self._served, self._said_expired = found, False
            _log.info("the certificate was read again from %s", self._certificate)
            return configuration

    def _read(self) -> _Pem:
        certificate = read_public(self._certificate, "The certificate")
        key = read_private(self._key, "The certificate's key")
        try:
            expires_s = _shake_hands(certificate, key)
        except (ssl.SSLError, OSError, ValueError) as error:
            why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
            raise PrivateFileError(
                f"The certificate {self._certificate} and the key {self._key} cannot be used together ({why}); give a "
                "PEM certificate that holds today and its own key, without a password, of RSA, P-256 or P-384."
            ) from None
        client_ca = None
        if self._client_ca is not None:
            client_ca = read_public(self._client_ca, "The file of client authorities")
            _check_authorities(client_ca, self._client_ca)
        return _Pem(certificate, key, client_ca, expires_s)


# As they are written in a certificate: names of the kinds of keys that gRPC signs handshakes with.
_KINDS = tuple(map(bytes.fromhex, ("06092a864886f70d010101", "06082a8648ce3d030107", "06052b81040022")))


def _shake_hands(certificate: bytes, key: bytes) -> float:
    """Try a certificate and a key on a client of our own, of these very bytes, which no path names.

    Returns
    -------
    float
        When the certificate expires, in seconds since 1970.

    Raises
    ------
    ssl.SSLError, OSError, ValueError
        When they do not belong together, or it does not hold now.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    descriptor = os.memfd_create("anacrusis", os.MFD_CLOEXEC)
    try:
        for part in (key, b"\n", certificate):
            os.write(descriptor, part)
        # A password is asked for on the terminal unless one is given.
        server.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)
    client.check_hostname = False  # whom it is for is what its clients check
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself here
    client.load_verify_locations(cadata=certificate.decode("ascii"))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking, answering):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown, found = asking.getpeercert(binary_form=True), asking.getpeercert()
    if not shown or not found or not any(kind in shown for kind in _KINDS):
        raise ValueError("gRPC does not take this kind of key")
    return ssl.cert_time_to_seconds(str(found["notAfter"]))


def _check_authorities(pem: bytes, path: Path) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error)
        raise PrivateFileError(
            f"The file of client authorities {path} cannot be used ({why}); give PEM certificates."
        ) from None
