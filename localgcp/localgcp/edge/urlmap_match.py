"""The matching half of URL maps: paths, wildcards, templates, headers and query parameters against one request."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

Body = Mapping[str, Any]

# One or many path segments as in https://cloud.google.com/load-balancing/docs/url-map-concepts#wildcards-regx-dynamic-route
_ONE_SEGMENT, _ANY_SEGMENTS = "[^/]+", ".*"
_TEMPLATE_TOKEN = re.compile(r"\{(?P<name>[A-Za-z][A-Za-z0-9_]*)(?:=(?P<sub>[^{}]*))?\}|(?P<any>\*\*)|(?P<one>\*)")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a load balancer sees of a request. `headers` have lower-case names; `path` and `query` are as sent."""

    host: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """`pattern` is the matched portion of the path, which a prefix rewrite replaces; `variables` of a path template."""

    pattern: str
    variables: Mapping[str, str] | None = None


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_number(value: object, default: float) -> float:
    """Numbers as JSON has them, or as the strings that int64 fields are rendered to."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return default
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def as_maps(value: object) -> list[Body]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [item for item in value if isinstance(item, Mapping)]


def match_path_rule(rules: Sequence[Body], path: str) -> tuple[Body, PathMatch] | None:
    """The rule with the longest path that fits: exact, or up to a final `*`. Order in the list does not matter."""
    best: tuple[int, Body, PathMatch] | None = None
    for rule in rules:
        paths = rule.get("paths")
        for pattern in paths if isinstance(paths, Sequence) and not isinstance(paths, str) else ():
            text = as_text(pattern)
            prefix = text.removesuffix("*")
            fits = path.startswith(prefix) if text.endswith("/*") else path == text
            score = 2 * len(prefix) + (not text.endswith("/*"))
            if text and fits and (best is None or score > best[0]):
                best = (score, rule, PathMatch(prefix))
    return None if best is None else (best[1], best[2])


def match_route_rule(rule: Body, seen: Seen) -> PathMatch | None:
    """A route rule fits when any of its matchRules fits as a whole."""
    for match_rule in as_maps(rule.get("matchRules")):
        match = _match_path(match_rule, seen.path)
        if match is None:
            continue
        if all(_match_header(m, seen) for m in as_maps(match_rule.get("headerMatches"))) and all(
            _match_query(m, seen.query) for m in as_maps(match_rule.get("queryParameterMatches"))
        ):
            return match
    return None


def _match_path(rule: Body, path: str) -> PathMatch | None:
    ignore_case = rule.get("ignoreCase") is True
    subject = path.lower() if ignore_case else path
    if prefix := as_text(rule.get("prefixMatch")):
        return PathMatch(prefix) if subject.startswith(prefix.lower() if ignore_case else prefix) else None
    if full := as_text(rule.get("fullPathMatch")):
        return PathMatch(path) if subject == (full.lower() if ignore_case else full) else None
    if template := as_text(rule.get("pathTemplateMatch")):
        compiled = compile_template(template)
        found = compiled.fullmatch(path) if compiled is not None else None
        return PathMatch(path, found.groupdict()) if found is not None else None
    if pattern := as_text(rule.get("regexMatch")):
        return PathMatch(path) if _full_match(pattern, path) else None
    # A rule on headers alone applies to every path; one whose path condition is malformed applies to none.
    conditions = ("prefixMatch", "fullPathMatch", "pathTemplateMatch", "regexMatch")
    return None if any(rule.get(condition) for condition in conditions) else PathMatch("/")


def _match_header(rule: Body, seen: Seen) -> bool:
    name = as_text(rule.get("headerName")).lower()
    pseudo = {":method": seen.method, ":authority": seen.host, ":path": seen.path}
    value = pseudo.get(name, seen.headers.get(name))
    return _header_fits(rule, value) != (rule.get("invertMatch") is True)


def _header_fits(rule: Body, value: str | None) -> bool:
    if "presentMatch" in rule:
        return (value is not None) == (rule.get("presentMatch") is True)
    if value is None:
        return False
    if exact := as_text(rule.get("exactMatch")):
        return value == exact
    if prefix := as_text(rule.get("prefixMatch")):
        return value.startswith(prefix)
    if suffix := as_text(rule.get("suffixMatch")):
        return value.endswith(suffix)
    if pattern := as_text(rule.get("regexMatch")):
        return _full_match(pattern, value)
    span = rule.get("rangeMatch")
    if isinstance(span, Mapping) and re.fullmatch(r"[+-]?\d{1,18}", value):
        return as_number(span.get("rangeStart"), 0) <= int(value) < as_number(span.get("rangeEnd"), 0)
    return False


def _match_query(rule: Body, query: str) -> bool:
    name = as_text(rule.get("name"))
    try:
        values = [value for key, value in parse_qsl(query, keep_blank_values=True) if key == name]
    except ValueError:  # more fields than the standard library accepts
        return False
    if not values:
        return False
    if exact := as_text(rule.get("exactMatch")):
        return values[0] == exact
    if pattern := as_text(rule.get("regexMatch")):
        return _full_match(pattern, values[0])
    return rule.get("presentMatch") is True


def _full_match(pattern: str, value: str) -> bool:
    compiled = _compile(pattern)
    return compiled is not None and compiled.fullmatch(value) is not None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError, Warning):
        return None


@lru_cache(maxsize=256)
def compile_template(template: str) -> re.Pattern[str] | None:
    """`/users/{id=*}/**` as a regular expression with named groups; None when it is not a valid template."""
    if not template.startswith("/"):
        return None
    return _compile(_template_regex(template, captures=True))


def _template_regex(template: str, *, captures: bool) -> str:
    parts: list[str] = []
    position = 0
    for token in _TEMPLATE_TOKEN.finditer(template):
        parts.append(re.escape(template[position : token.start()]))
        position = token.end()
        name = token["name"]
        if name is None:
            parts.append(_ANY_SEGMENTS if token["any"] else _ONE_SEGMENT)
        elif captures:
            parts.append(f"(?P<{name}>{_template_regex(token['sub'] or '*', captures=False)})")
        else:
            return "(?!)"  # a variable inside a variable: matches nothing
    parts.append(re.escape(template[position:]))
    return "".join(parts)
