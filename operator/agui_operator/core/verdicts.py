"""A verdict belongs to the content of its check: an edited check of the same name has none yet."""

from __future__ import annotations

from collections.abc import Mapping

from agui_operator.api.smoke import SmokeCheck
from agui_operator.core.names import digest_of
from agui_operator.core.snapshot import CheckResult


def check_digest(check: SmokeCheck) -> str:
    """Of what the check asks; not of the stages at which it runs, because each has its own verdict."""
    return digest_of(check.model_dump(mode="json", exclude={"at"}, exclude_defaults=True), 12)


def verdict_on(results: Mapping[str, CheckResult], check: SmokeCheck) -> CheckResult | None:
    """The result of this very check. One without digest was written by an older version, and counts."""
    found = results.get(check.name)
    return found if found is not None and found.check in ("", check_digest(check)) else None
