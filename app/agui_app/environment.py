"""Reading single values of the environment. Imports nothing heavy: the process must answer `/healthz` first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class SettingsError(Exception):
    """The environment cannot be used; the message names the variable and what to change. Never holds a secret."""


def integer(env: Mapping[str, str], name: str, default: int, least: int = 1, most: int = 2**31 - 1) -> int:
    """A whole number between `least` and `most`. Raises SettingsError."""
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name} must be a whole number, not {text!r}") from None
    if not least <= value <= most:
        raise SettingsError(f"{name} must be between {least} and {most}, not {value}")
    return value


def seconds(env: Mapping[str, str], name: str, default: float) -> float:
    """A positive number. Raises SettingsError."""
    text = env.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        raise SettingsError(f"{name} must be a number of seconds, not {text!r}") from None
    if not 0 < value < 1e7:
        raise SettingsError(f"{name} must be a positive number of seconds, not {text!r}")
    return value


def words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A list separated by commas."""
    return tuple(word for word in (part.strip() for part in env.get(name, "").split(",")) if word)


def switch(env: Mapping[str, str], name: str) -> bool:
    """`true` or `false`; absent is false. Raises SettingsError."""
    text = env.get(name, "").strip().lower()
    if text not in ("", "true", "false"):
        raise SettingsError(f"{name} must be true or false, not {text!r}")
    return text == "true"


def file(env: Mapping[str, str], name: str, default: Path) -> Path:
    """A file that exists. Raises SettingsError."""
    path = Path(env[name]) if env.get(name) else default
    if not path.is_file():
        raise SettingsError(f"{name}: there is no file {path}")
    return path
