"""Pages of list methods."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeVar

from localgcp.kit.errors import from_http

T = TypeVar("T")
_LARGEST_PAGE = 1000


def page(found: list[tuple[str, T]], query: Mapping[str, str]) -> tuple[list[tuple[str, T]], dict[str, str]]:
    """One page of entries sorted by name, and `{"nextPageToken": ...}` if there are more. Raises ApiError 400."""
    if token := query.get("pageToken", ""):
        try:
            after = base64.urlsafe_b64decode(token).decode()
        except ValueError as error:
            raise from_http(400, "Invalid page token", "invalid", location="pageToken") from error
        found = [entry for entry in found if entry[0] > after]
    asked = query.get("maxResults", "")
    size = min(int(asked), _LARGEST_PAGE) if asked.isdigit() and int(asked) > 0 else _LARGEST_PAGE
    if len(found) <= size:
        return found, {}
    return found[:size], {"nextPageToken": base64.urlsafe_b64encode(found[size - 1][0].encode()).decode()}
