"""Cloud Monitoring's filter language: `metric.type = "..." AND resource.labels.revision_name = one_of("a", "b")`.

A filter is parsed once into a tree of functions; what a selector means is up to who evaluates it (time series, alert
policies and notification channels have different ones).
Source: https://cloud.google.com/monitoring/api/v3/filters
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from localgcp.kit.errors import ApiError, invalid

Resolve = Callable[[str], str | None]
"""Value of a selector ("metric.labels.code"); None where the object has no such label. Raises KeyError if unknown."""

_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
             | (?P<op><=|>=|!=|=|<|>|:)
             | (?P<punct>[(),])
             | (?P<minus>-(?=\s*[A-Za-z_(]))
             | (?P<word>[A-Za-z_0-9][\w.\-/]*(?:"[^"]*")?)
             | (?P<number>-?\d+(?:\.\d+)?) )""",
    re.VERBOSE,
)
_FUNCTIONS: Mapping[str, Callable[[str, list[str]], bool]] = {
    "starts_with": lambda value, args: value.startswith(args[0]),
    "ends_with": lambda value, args: value.endswith(args[0]),
    "has_substring": lambda value, args: args[0] in value,
    "one_of": lambda value, args: value in args,
    "monitoring.regex.full_match": lambda value, args: re.fullmatch(args[0], value) is not None,
}
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

    def holds(self, resolve: Resolve) -> bool:
        value = resolve(self.selector)
        if self.function:
            found = value is not None and _FUNCTIONS[self.function](value, list(self.values))
            return found == (self.operator == "=")
        wanted = self.values[0]
        if self.operator == ":":
            return value is not None and wanted in value
        if self.operator in _ORDERED:
            return value is not None and _is_ordered(self.operator, value, wanted)
        return ((value or "") == wanted) == (self.operator == "=")


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


def parse(text: str) -> Filter:
    """Raises ApiError INVALID_ARGUMENT that says where it went wrong. An empty filter holds for everything."""
    parser = _Parser(text)
    if parser.peek() is None:
        return Filter(text, lambda resolve: True, ())
    holds = parser.either()
    if (rest := parser.peek()) is not None:
        raise parser.error(f"unexpected '{rest[1]}'")
    return Filter(text, holds, tuple(parser.comparisons))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
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
        selector = self._take("word", "a selector such as metric.type")
        operator = self._take("op", f"an operator after '{selector}'")
        kind, value = self._next(f"a value after '{selector} {operator}'")
        if kind == "word" and self._accept("punct", "("):
            comparison = Comparison(_canonical(selector), operator, self._arguments(value, operator), value)
        elif kind in ("string", "word", "number"):
            comparison = Comparison(_canonical(selector), operator, (_unquoted(kind, value),))
        else:
            raise self.error(f"a value is expected after '{selector} {operator}'")
        self.comparisons.append(comparison)
        return comparison.holds

    def _arguments(self, function: str, operator: str) -> tuple[str, ...]:
        if function not in _FUNCTIONS or operator not in ("=", "!="):
            raise self.error(f"unknown function '{function}', or one that does not go with '{operator}'")
        values = []
        while True:
            kind, value = self._next(f"an argument of {function}")
            values.append(_unquoted(kind, value))
            if self._accept("punct", ")"):
                break
            if not self._accept("punct", ","):
                raise self.error(f"the arguments of {function} do not end")
        if function == "monitoring.regex.full_match":
            try:
                re.compile(values[0])
            except re.error as error:
                raise self.error(f"invalid regular expression: {error}") from error
        return tuple(values)

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


def _canonical(selector: str) -> str:
    """`metric.label.code` and `metric.labels."code"` are other spellings of `metric.labels.code`."""
    plain = selector.replace('"', "")
    return re.sub(r"^(metric|resource)\.label\.", r"\1.labels.", plain)


def _unquoted(kind: str, value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if kind == "string" else value


def _is_ordered(operator: str, value: str, wanted: str) -> bool:
    try:
        return _ORDERED[operator](float(value), float(wanted))
    except ValueError:
        return False
