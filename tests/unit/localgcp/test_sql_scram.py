"""Verifiers that PostgreSQL takes in place of passwords."""

from __future__ import annotations

import base64

import pytest

from localgcp.services.sql.postgres.scram import verifier

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


def test_the_example_of_rfc_7677() -> None:
    stored, server = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    assert verifier("pencil", SALT) == f"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${stored}:{server}"


def test_a_salt_is_used_once() -> None:
    assert verifier("pencil") != verifier("pencil")


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # mapped to nothing
        ("\u2168", "IX"),  # compatibility
        ("a\u00a0b", "a b"),  # a space that is not ASCII
        ("\u00aa", "a"),
    ],
)
def test_passwords_that_mean_the_same_are_the_same(password: str, prepared: str) -> None:
    assert verifier(password, SALT) == verifier(prepared, SALT)


@pytest.mark.parametrize("password", ["\u0007\u2168", "\u06271\u2168"])
def test_what_saslprep_does_not_allow_stays_as_it_is(password: str) -> None:
    assert verifier(password, SALT) != verifier(password.replace("\u2168", "IX"), SALT)
