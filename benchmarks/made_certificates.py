"""Certificates that nobody trusts, for measurements and tests: an authority, and what it vouches for."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


class Authority:
    """Makes certificates that hold for a day, as PEM files in a folder.

    Parameters
    ----------
    folder : Path
    name : str
        Its common name, and that of its file.

    Attributes
    ----------
    path : Path
        Its own certificate.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def vouch(
        self,
        file_name: str,
        common_name: str,
        *,
        names: tuple[str, ...] = (),
        local: bool = False,
        key: CertificateIssuerPrivateKeyTypes | None = None,
        days_ago: int = 0,
    ) -> tuple[Path, Path]:
        """Make a certificate and its key.

        Parameters
        ----------
        file_name : str
            Of both files, without their endings.
        common_name : str
        names : tuple of str
            Its alternative names.
        local : bool
            Whether it is for a server on the loopback, too.
        key : private key, optional
            Of the certificate; by default a new one of P-256.
        days_ago : int
            As if it had been made so long ago; from 2 on it has expired.

        Returns
        -------
        (certificate, key) : Path and Path
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        if local:
            alternatives += [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = _builder(subject, self._name, key.public_key(), days_ago)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        certificate, private = self._folder / f"{file_name}.pem", self._folder / f"{file_name}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.touch(0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, days_ago: int = 0
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC) - days_ago * _DAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
