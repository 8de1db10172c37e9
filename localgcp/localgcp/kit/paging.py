"""Pages of list methods, the same way in every service.

A list is sorted by a key that no two items share. A page token holds the key of the last item that was returned, so
that a walk neither repeats nor skips an item when others are created or deleted meanwhile. It also holds a fingerprint
of the query: a token belongs to the method and the parameters that it was issued for. Any other token is refused with
INVALID_ARGUMENT. Only the page size may change from page to page.
Source: https://google.aip.dev/158
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from localgcp.kit.errors import ApiError, from_http, invalid

T = TypeVar("T")
Key = tuple[Any, ...]
"""What a list is sorted by: strings and numbers, nested in tuples."""

_PAGE_PARAMETERS = frozenset(("pageToken", "maxResults"))
_SYSTEM_PARAMETERS = frozenset(  # https://cloud.google.com/apis/docs/system-parameters
    ("alt", "callback", "fields", "key", "prettyPrint", "quotaUser", "userIp", "access_token", "oauth_token")
)
_NUMBER = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Items of a page: when the caller asks for no number, and at most."""

    default: int
    largest: int


class _BadToken(Exception):
    pass


def proto_page(
    request: Any,
    items: Iterable[T],
    key: Callable[[T], Key],
    limits: Limits,
    cost: Callable[[T], int] = lambda item: 1,
) -> tuple[list[T], str]:
    """One page of `items` in the order of `key`, and the token of the next page (empty at the end). `cost` says how
    much of the page's size an item takes. Raises ApiError INVALID_ARGUMENT."""
    if request.page_size < 0:
        raise invalid("page_size must not be negative", "page_size")
    size = min(request.page_size or limits.default, limits.largest)
    try:
        return _page(items, key, size, request.page_token, _query_of_proto(request), cost)
    except _BadToken:
        raise _bad_proto_token() from None


def rest_page(
    request: web.Request, method: str, items: Iterable[T], key: Callable[[T], Key], limits: Limits
) -> tuple[list[T], dict[str, str]]:
    """The same for an API that is REST only: parameters `maxResults` and `pageToken`; `{"nextPageToken": ...}` if
    there are more. `method` is the ledger's name ("storage.objects.list"). Raises ApiError 400."""
    asked = request.query.get("maxResults", "") or "0"
    if not _NUMBER.fullmatch(asked) or int(asked) < 0:
        raise from_http(400, f"Invalid value for field 'maxResults': '{asked}'", "invalid", location="maxResults")
    size = min(int(asked) or limits.default, limits.largest)
    token = request.query.get("pageToken", "")
    try:
        page, more = _page(items, key, size, token, _query_of_rest(request, method))
    except _BadToken:
        raise _bad_rest_token(token) from None
    return page, {"nextPageToken": more} if more else {}


def check_proto_token(request: Any) -> None:
    """Refuses a page token that this very query did not issue, before the method looks at anything else."""
    if token := getattr(request, "page_token", ""):
        try:
            _last_key(token, _query_of_proto(request))
        except _BadToken:
            raise _bad_proto_token() from None


def check_rest_token(request: web.Request, method: str) -> None:
    """The same for the query parameter `pageToken`."""
    if token := request.query.get("pageToken", ""):
        try:
            _last_key(token, _query_of_rest(request, method))
        except _BadToken:
            raise _bad_rest_token(token) from None


def _page(
    items: Iterable[T],
    key: Callable[[T], Key],
    size: int,
    token: str,
    query: str,
    cost: Callable[[T], int] = lambda item: 1,
) -> tuple[list[T], str]:
    ordered = sorted(items, key=key)
    start = 0
    if token:
        try:
            start = bisect.bisect_right(ordered, _last_key(token, query), key=key)
        except TypeError:  # a forged key
            raise _BadToken from None
    end, room = start, size
    while end < len(ordered) and (room := room - cost(ordered[end])) >= 0:
        end += 1
    if end == start and end < len(ordered):  # an item that is larger than a page is a page
        end += 1
    more = _token(key(ordered[end - 1]), query) if end < len(ordered) else ""
    return ordered[start:end], more


def _token(last: Key, query: str) -> str:
    text = json.dumps([query, last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _last_key(token: str, query: str) -> Key:
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        issued, last = json.loads(raw)
    except (ValueError, TypeError):
        raise _BadToken from None
    if issued != query or not isinstance(last, list):
        raise _BadToken
    return _tuples(last)


def _tuples(value: list[Any]) -> Key:
    return tuple(_tuples(part) if isinstance(part, list) else part for part in value)


def _query_of_proto(request: Any) -> str:
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("page_size")
    asked.ClearField("page_token")
    return _fingerprint(request.DESCRIPTOR.full_name, asked.SerializeToString(deterministic=True).hex())


def _query_of_rest(request: web.Request, method: str) -> str:
    ignored = _PAGE_PARAMETERS | _SYSTEM_PARAMETERS
    asked = sorted((name, value) for name, value in request.query.items() if name not in ignored and name[0] != "$")
    return _fingerprint(method, json.dumps([sorted(request.match_info.items()), asked]))


def _fingerprint(method: str, parameters: str) -> str:
    return hashlib.sha256(f"{method}\0{parameters}".encode()).hexdigest()[:16]


def _bad_proto_token() -> ApiError:
    return invalid("The page_token is invalid: it was not issued for this request.", "page_token")


def _bad_rest_token(token: str) -> ApiError:
    message = f"Invalid value for field 'pageToken': '{token}'. It was not issued for this request."
    return from_http(400, message, "invalid", location="pageToken")
