"""The state folder is its owner's alone, and holds the token of admin calls that change something."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

STATE_FILE = "state.sqlite3"
TOKEN_FILE = "admin-token"  # noqa: S105  (a file name)


def open_state(folder: Path) -> None:
    """Makes the folder, and closes one of localgcp's that others may enter. Raises PermissionError for one that holds
    something else: it is not localgcp's to close."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0:
        return
    if any(folder.iterdir()) and not (folder / STATE_FILE).exists():
        reason = "is open to other users and holds other files; name a folder of its own with --state-dir"
        raise PermissionError(errno.EPERM, f"the state folder {reason}", str(folder))
    folder.chmod(0o700)


def admin_token(folder: Path) -> str:
    """The token in a state folder, the same after a restart. One that others could have read or written is replaced."""
    path = folder / TOKEN_FILE
    try:
        found = path.lstat()
        private = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
        if private and (token := path.read_text().strip()):
            return token
        path.unlink()
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(32)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token
