"""Keys and certificates of one control plane: an own authority, so that every connection is authenticated both ways."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = datetime.timedelta(days=3650)
CERTIFICATE_LIFE = datetime.timedelta(days=365)
# Clocks of containers and their host may differ a little.
BACKDATED = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """Everything that etcd, the API server, the controller manager and their clients need. `sa_*` sign and check the
    tokens of service accounts; they outlive restarts, so issued tokens stay valid."""

    authority: Pair
    server: Pair
    admin: Pair
    controller_manager: Pair
    sa_private: Path
    sa_public: Path


def make_pki(folder: Path) -> Pki:
    """Make (or, for the authority and the token keys, keep) the files in `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Pair(folder / "ca.crt", folder / "ca.key")
    if not authority.key.exists():
        _make_authority(authority)
    sa_private, sa_public = folder / "sa.key", folder / "sa.pub"
    if not sa_private.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_private(sa_private, key)
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        sa_public.write_bytes(key.public_key().public_bytes(encoding, form))
    return Pki(
        authority=authority,
        # One certificate for every listener: they all sit on the loopback address and trust this authority alone.
        server=_issue(authority, folder, "server", "agui-control-plane", server=True),
        admin=_issue(authority, folder, "admin", "admin", organizations=["system:masters"]),
        controller_manager=_issue(authority, folder, "controller-manager", "system:kube-controller-manager"),
        sa_private=sa_private,
        sa_public=sa_public,
    )


def _make_authority(pair: Pair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agui-control-plane-ca")])
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(pair.key, key)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _issue(
    authority: Pair,
    folder: Path,
    file: str,
    common_name: str,
    *,
    organizations: Sequence[str] = (),
    server: bool = False,
) -> Pair:
    signer = serialization.load_pem_private_key(authority.key.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    name = x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    # etcd's server certificate is also what it presents as a peer, hence both usages.
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
    builder = (
        _builder(name, issuer.subject, key.public_key(), CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if server:
        hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    pair = Pair(folder / f"{file}.crt", folder / f"{file}.key")
    _write_private(pair.key, key)
    pair.certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_private(target: Path, key: ec.EllipticCurvePrivateKey) -> None:
    body = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(body)
