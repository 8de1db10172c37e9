"""SCRAM-SHA-256 verifiers: what PostgreSQL stores in place of a password, and takes in place of one.

A statement with a verifier may be kept until it has been run; one with a password may not.
Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html and RFC 5803
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from collections.abc import Callable

_ITERATIONS = 4096
_SALT_BYTES = 16
_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def verifier(password: str, salt: bytes = b"") -> str:
    """`SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, with a new salt by default."""
    salt = salt or secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(_keyed(salted, b"Client Key")).digest()
    parts = (base64.b64encode(value).decode() for value in (salt, stored, _keyed(salted, b"Server Key")))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *parts)


def _keyed(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _prepared(password: str) -> str:
    """A password after SASLprep (RFC 4013); as it is where that does not allow it, as PostgreSQL does."""
    if password.isascii():
        return password
    mapped = (" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", "".join(mapped))
    if not normal or any(prohibited(c) for c in normal for prohibited in _PROHIBITED):
        return password
    if any(map(stringprep.in_table_d1, normal)):  # right to left: throughout, or not at all
        ends = stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])
        if not ends or any(map(stringprep.in_table_d2, normal)):
            return password
    return normal
