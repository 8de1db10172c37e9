"""The filter language of list methods: `state = "ENABLED" AND (labels.app:shop OR NOT labels.app:*)`.

A filter is parsed once into a tree of functions. What a selector means is up to the service that evaluates it. APIs
differ in a few points only; a `Dialect` says in which.
Source: https://google.aip.dev/160
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from localgcp.kit.errors import ApiError, invalid

T = TypeVar("T")
Resolve = Callable[[str], str | None]
"""Value of a selector ("metric.labels.code"); None where the object has no such label. Raises KeyError if unknown."""

_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
             | (?P<op><=|>=|!=|=|<|>|:)
             | (?P<punct>[(),])
             | (?P<minus>-(?=\s*[A-Za-z_(]))
             | (?P<word>[A-Za-z_0-9*][\w.\-/*+]*(?:"[^"]*")?)
             | (?P<number>-?\d+(?:\.\d+)?) )""",
    re.VERBOSE,
)
Function = Callable[[str, list[str]], bool]
"""Whether a function on the right side holds for a value: (value, arguments)."""

_MATCHES = ("eq", "ne")
_ORDERED: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One restriction; `function` is the name of a function on the right side, whose arguments `values` then are."""

    selector: str
    operator: str
    values: tuple[str, ...]
    function: str = ""

    def holds(self, resolve: Resolve, dialect: Dialect) -> bool:
        value, wanted = resolve(self.selector), self.values[0]
        if self.function:
            found = value is not None and dialect.functions[self.function](value, list(self.values))
            return found == (self.operator == "=")
        if self.operator == ":":
            return value is not None and (wanted == "*" or _contains(value, wanted, dialect.ignore_case))
        if self.operator in _ORDERED:
            return value is not None and _is_ordered(self.operator, value, wanted)
        if self.operator in _MATCHES:
            return (re.fullmatch(wanted, value or "") is not None) == (self.operator == "eq")
        return ((value or "") == wanted) == (self.operator == "=")


@dataclass(frozen=True, slots=True)
class Dialect:
    """`functions` may stand on the right side of `=` and `!=`; `matches`: `eq` and `ne` compare with a regular
    expression; `ignore_case` is about `:`; `canonical` brings a comparison into its usual spelling, or raises ApiError
    for one that the API does not know."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    matches: bool = False
    ignore_case: bool = False
    canonical: Callable[[Comparison], Comparison] = lambda comparison: comparison


PLAIN = Dialect()


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter. `comparisons` are all of its restrictions, in order of appearance."""

    text: str
    holds: Callable[[Resolve], bool]
    comparisons: tuple[Comparison, ...]

    def required(self, selector: str) -> tuple[str, ...]:
        """The values that an `=` demands of a selector, without those of one_of and other functions."""
        return tuple(
            c.values[0] for c in self.comparisons if c.selector == selector and c.operator == "=" and not c.function
        )


def parse(text: str, dialect: Dialect = PLAIN) -> Filter:
    """Raises ApiError INVALID_ARGUMENT that says where it went wrong. An empty filter holds for everything."""
    parser = _Parser(text, dialect)
    if parser.peek() is None:
        return Filter(text, lambda resolve: True, ())
    holds = parser.either()
    if (rest := parser.peek()) is not None:
        raise parser.error(f"unexpected '{rest[1]}'")
    return Filter(text, holds, tuple(parser.comparisons))


class _Parser:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text, self._dialect = text, dialect
        self._tokens = list(self._tokenized(text))
        self._at = 0
        self.comparisons: list[Comparison] = []

    def error(self, message: str) -> ApiError:
        return invalid(f'Field filter had an invalid value of "{self._text}": {message}.', "filter")

    def peek(self) -> tuple[str, str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def either(self) -> Callable[[Resolve], bool]:
        parts = [self._both()]
        while self._accept("word", "OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda resolve: any(part(resolve) for part in parts)

    def _both(self) -> Callable[[Resolve], bool]:
        parts = [self._negated()]
        while (token := self.peek()) is not None and token[1] not in (")", "OR"):
            self._accept("word", "AND")
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else lambda resolve: all(part(resolve) for part in parts)

    def _negated(self) -> Callable[[Resolve], bool]:
        if self._accept("word", "NOT") or self._accept("minus", "-"):
            inner = self._negated()
            return lambda resolve: not inner(resolve)
        if self._accept("punct", "("):
            whole = self.either()
            if not self._accept("punct", ")"):
                raise self.error("a closing parenthesis is missing")
            return whole
        return self._comparison()

    def _comparison(self) -> Callable[[Resolve], bool]:
        selector = self._take("word", "a field such as name or labels.app").replace('"', "")
        operator = self._operator(selector)
        kind, value = self._next(f"a value after '{selector} {operator}'")
        if kind == "word" and self._accept("punct", "("):
            comparison = Comparison(selector, operator, self._arguments(value, operator), value)
        elif kind in ("string", "word", "number"):
            comparison = Comparison(selector, operator, (_unquoted(kind, value),))
        else:
            raise self.error(f"a value is expected after '{selector} {operator}'")
        if operator in _MATCHES:
            self.check_pattern(comparison.values[0])
        comparison, dialect = self._dialect.canonical(comparison), self._dialect
        self.comparisons.append(comparison)
        return lambda resolve: comparison.holds(resolve, dialect)

    def _operator(self, selector: str) -> str:
        if self._dialect.matches and (token := self.peek()) is not None and token[1] in _MATCHES:
            self._at += 1
            return token[1]
        return self._take("op", f"an operator after '{selector}'")

    def _arguments(self, function: str, operator: str) -> tuple[str, ...]:
        if function not in self._dialect.functions or operator not in ("=", "!="):
            raise self.error(f"unknown function '{function}', or one that does not go with '{operator}'")
        values = []
        while True:
            kind, value = self._next(f"an argument of {function}")
            values.append(_unquoted(kind, value))
            if self._accept("punct", ")"):
                break
            if not self._accept("punct", ","):
                raise self.error(f"the arguments of {function} do not end")
        if function.endswith("regex.full_match"):
            self.check_pattern(values[0])
        return tuple(values)

    def check_pattern(self, pattern: str) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise self.error(f"invalid regular expression: {error}") from error

    def _next(self, expected: str) -> tuple[str, str]:
        token = self.peek()
        if token is None:
            raise self.error(f"it ends where {expected} is expected")
        self._at += 1
        return token

    def _take(self, kind: str, expected: str) -> str:
        found, value = self._next(expected)
        if found != kind:
            raise self.error(f"'{value}' stands where {expected} is expected")
        return value

    def _accept(self, kind: str, value: str) -> bool:
        if self.peek() != (kind, value):
            return False
        self._at += 1
        return True

    def _tokenized(self, text: str) -> Iterator[tuple[str, str]]:
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise self.error(f"unexpected character at '{text[position : position + 20].strip()}'")
            yield match.lastgroup, match[match.lastgroup]
            position = match.end()


def _unquoted(kind: str, value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if kind == "string" else value


def _is_ordered(operator: str, value: str, wanted: str) -> bool:
    try:
        return _ORDERED[operator](float(value), float(wanted))
    except ValueError:
        return False


def _contains(value: str, wanted: str, ignore_case: bool) -> bool:
    return wanted.lower() in value.lower() if ignore_case else wanted in value


def matching(
    items: Iterable[T], text: str, field_of: Callable[[T, str], str | None], dialect: Dialect = PLAIN
) -> list[T]:
    """The items that a list filter holds for. `field_of` gives a field's value; it raises KeyError for a field that the
    API does not know. Raises ApiError INVALID_ARGUMENT."""
    wanted = parse(text, dialect)
    try:
        return [item for item in items if wanted.holds(functools.partial(field_of, item))]
    except KeyError as error:
        message = f'Field filter had an invalid value of "{text}": unknown field {error}.'
        raise invalid(message, "filter") from error


def json_field(record: Mapping[str, Any], selector: str) -> str | None:
    """The value at a dotted path of a JSON object as text; None where there is none."""
    value: Any = record
    for name in selector.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
