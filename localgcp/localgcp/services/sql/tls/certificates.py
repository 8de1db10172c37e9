"""The certificate authority of a Cloud SQL instance: its own certificate, and the short-lived ones of its clients.

Each instance has a CA of its own, as on Google, so that what one instance signed opens no other. It is kept in the
state directory (mode 0600): a client that trusts an instance still does after a restart.
Source: https://cloud.google.com/sql/docs/postgres/configure-ssl-instance
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localgcp.services.sql.postgres.installation import write_private

_CA_DAYS = 3650  # Cloud SQL's are valid for ten years
_SKEW = timedelta(minutes=1)  # clients whose clock is a little behind
_LEAST_RSA_BITS = 2048
_FILE = "authority.pem"  # private key and certificate of the CA
_SERVER_FILE = "server.pem"  # private key and certificate of the server


class BadPublicKey(ValueError):
    """What a client sent is no public key that a certificate can be made for; the message says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A client certificate, PEM."""

    pem: str
    serial: int
    created: datetime
    expires: datetime
    fingerprint: str  # SHA-1, hexadecimal: what the API calls sha1Fingerprint


class Authority:
    """The CA of one instance. `directory` keeps its key; `name` is `project:instance`."""

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._directory, self._key, self._certificate = directory, key, certificate

    @classmethod
    def of(cls, directory: Path, name: str, dns_name: str) -> Authority:
        """The CA kept in `directory`, made there with the server's certificate when there is none yet."""
        path = directory / _FILE
        if not (directory / _SERVER_FILE).exists():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
            _create(directory, name, dns_name)
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path} does not hold the key of this CA")
        return cls(directory, key, x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]))

    @property
    def certificate_pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.3 only; a client must show a certificate of this CA. No session is resumed: each connection proves
        anew that its certificate has not expired."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0
        context.load_verify_locations(cadata=self.certificate_pem)
        context.load_cert_chain(self._directory / _SERVER_FILE)
        return context

    def issue(self, public_key_pem: str, lifetime: timedelta, principal: str = "") -> Issued:
        """A client certificate for a key; `principal` is the IAM identity that asked, if it wants to log in as itself.
        Raises BadPublicKey."""
        key = _public_key(public_key_pem)
        now = datetime.now(UTC).replace(microsecond=0)
        subject = [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Google, Inc"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Google Cloud SQL Client"),
        ]
        if principal:
            subject.append(x509.NameAttribute(NameOID.USER_ID, principal))
        builder = _builder(x509.Name(subject), self._certificate.subject, key, now - _SKEW, now + lifetime)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = builder.add_extension(usage, critical=False).sign(self._key, hashes.SHA256())
        return Issued(
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            serial=certificate.serial_number,
            created=now,
            expires=certificate.not_valid_after_utc,
            fingerprint=fingerprint(certificate),
        )


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-1 of a certificate, hexadecimal."""
    return hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER), usedforsecurity=False).hexdigest()


def _create(directory: Path, name: str, dns_name: str) -> None:
    now = datetime.now(UTC)
    key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Google, Inc"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Google Cloud SQL Server CA"),
            x509.NameAttribute(NameOID.DN_QUALIFIER, str(uuid.uuid4())),  # no two CAs have one name
        ]
    )
    end = now + timedelta(days=_CA_DAYS)
    authority = (
        _builder(subject, subject, key.public_key(), now - _SKEW, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    # Connectors compare the common name with `project:instance` where the CA is an internal one.
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    server = (
        _builder(server_name, subject, server_key.public_key(), now - _SKEW, end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(directory / _FILE, _pem(key, authority))
    write_private(directory / _SERVER_FILE, _pem(server_key, server))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


def _public_key(text: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """A key in PEM, or in DER as base64 without the lines around it (connectors send either)."""
    try:
        if "-----BEGIN" in text:
            key = serialization.load_pem_public_key(text.encode())
        else:
            key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except Exception as error:  # cryptography raises several kinds
        raise BadPublicKey("the public key is not PEM of an RSA or EC key") from error
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise BadPublicKey(f"the RSA key has {key.key_size} bits; {_LEAST_RSA_BITS} are the least")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    raise BadPublicKey(f"a key of type {type(key).__name__} is not supported: send an RSA or EC key")
