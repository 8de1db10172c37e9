"""What a user reads when an image or a secret can't be pinned."""

from __future__ import annotations

from agui_operator.api.conditions import Reason
from agui_operator.core.errors import CloudError, UserError


def explained(error: CloudError, what: str, role: str, fix: str) -> Exception:
    """`error` as a UserError that says what to do, where the user can do something."""
    if error.code == 404:
        return UserError(f"{what} does not exist; {fix} or correct the name", reason=Reason.NOT_FOUND)
    if error.code == 403:
        return UserError(f"{what} may not be read; grant {role} to the operator", reason=Reason.PERMISSION_DENIED)
    return error
