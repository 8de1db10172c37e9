"""What the loops learn, reported to listeners at once: the dashboard needs no call to the API server of its own.

A listener stores what it gets and returns; it must neither wait nor raise, because the loop calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from agui_operator.core.analysis import Window


class Feed(Protocol):
    """What is reported, in the order in which it happened for one object."""

    def seen(self, body: Mapping[str, Any]) -> None:
        """The watch delivered an AgUiDeployment: when the process started, and at each change."""
        ...

    def gone(self, uid: str) -> None:
        """The object does not exist any more."""
        ...

    def status_written(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """The API server has accepted this status; it is newer than any that the watch has delivered."""
        ...

    def measured(self, uid: str, release: str, at: datetime, window: Window) -> None:
        """The canary analysis of a release has looked at its metrics."""
        ...

    def noted(self, uid: str, at: datetime, kind: str, reason: str, message: str) -> None:
        """Something happened; the same is sent as a Kubernetes Event of that kind (Normal, Warning)."""
        ...


class Silent:
    """Nobody listens."""

    def seen(self, body: Mapping[str, Any]) -> None:
        pass

    def gone(self, uid: str) -> None:
        pass

    def status_written(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        pass

    def measured(self, uid: str, release: str, at: datetime, window: Window) -> None:
        pass

    def noted(self, uid: str, at: datetime, kind: str, reason: str, message: str) -> None:
        pass


SILENT = Silent()
