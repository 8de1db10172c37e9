"""What all models of the API share: immutability, names as in YAML, rules that the API server and Python both keep.

A rule is declared once, as a CEL expression for the CRD beside the Python predicate that means the same, so that
`kubectl apply`, `lint` and the operator refuse the same objects with the same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One sentence about an object that single fields can't express.

    `cel` is what the API server evaluates (https://kubernetes.io/docs/reference/using-api/cel/), empty where it can't;
    `holds` is the same in Python, `message` what both say ("must ..."), `fix` what to do about it and `at` the field
    that the error is shown at.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    fix: str
    at: str = ""


def _complete(schema: dict[str, Any], model: type[Model]) -> None:
    """Adds what pydantic leaves out of a model's JSON schema: defaults in the form of YAML, and the rules."""
    for field in model.model_fields.values():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Model):
            # written out: the API server holds a default against the rules before it fills in the defaults inside
            default = default.model_dump(mode="json", by_alias=True, exclude_none=True)
        elif isinstance(default, timedelta):
            default = format_duration(default)
        else:
            continue
        schema["properties"][field.alias]["default"] = default
    rules = [rule for rule in model.RULES if rule.cel]
    if rules:
        schema[VALIDATIONS] = [
            {"rule": rule.cel, "message": f"{rule.message}; {rule.fix}"}
            | ({"fieldPath": f".{rule.at}"} if rule.at else {})
            for rule in rules
        ]


class Model(BaseModel):
    """A part of the API: immutable, camelCase in YAML, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra=_complete,
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.RULES:
            if not rule.holds(self):
                raise PydanticCustomError(
                    "rule", "{message}", {"message": rule.message, "fix": rule.fix, "at": rule.at}
                )
        return self


def one_of(*names: str, what: str) -> Rule:
    """Exactly one of the optional fields `names` (attribute names) is set."""
    aliases = [to_camel(name) for name in names]
    cel = " + ".join(f"(has(self.{cel_name(alias)}) ? 1 : 0)" for alias in aliases) + " == 1"
    listed = f"{', '.join(aliases[:-1])} or {aliases[-1]}"
    return Rule(
        cel=cel,
        holds=lambda model: sum(getattr(model, name) is not None for name in names) == 1,
        message=f"must have exactly one of {listed}",
        fix=f"keep one key per {what} and move the others to entries of their own",
    )


_CEL_RESERVED = frozenset({"namespace", "package", "in", "as", "break", "const", "continue", "else", "for", "function"})


def cel_name(alias: str) -> str:
    """A field's name inside a CEL expression: reserved words are escaped with underscores."""
    return f"__{alias}__" if alias in _CEL_RESERVED else alias


_UNITS = {"d": 86400000, "h": 3600000, "m": 60000, "s": 1000, "ms": 1}
DURATION_PATTERN = "^([0-9]{1,9}(d|h|m|s|ms))+$"
_DURATION_PART = re.compile(r"([0-9]{1,9})(ms|d|h|m|s)")
_LONGEST = timedelta(days=366)


def parse_duration(raw: Any) -> timedelta:
    """`30s`, `5m`, `24h`, `1h30m`, `500ms`, `30d` as a timedelta of at most 366 days. Raises PydanticCustomError."""
    if isinstance(raw, timedelta):
        return raw
    text = raw if isinstance(raw, str) and len(raw) <= 24 else ""
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise PydanticCustomError(
            "duration", "must be a duration", {"fix": "write a number with a unit, such as 30s, 5m or 24h"}
        )
    total = timedelta(milliseconds=sum(int(n) * _UNITS[u] for n, u in parts))
    if total > _LONGEST:
        raise PydanticCustomError("duration", "must be at most 366d", {"fix": "use a shorter duration"})
    return total


def format_duration(value: timedelta) -> str:
    """The shortest exact form with one unit, hours at most: 90 s is `90s`, a day is `24h`."""
    millis = round(value.total_seconds() * 1000)
    for unit in ("h", "m", "s"):
        if millis and millis % _UNITS[unit] == 0:
            return f"{millis // _UNITS[unit]}{unit}"
    return f"{millis}ms" if millis else "0s"


Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 24}),
]


def _as_text(raw: Any) -> Any:
    return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw


def int_or_string(pattern: str, maximum: int = 32) -> Any:
    """Metadata for a `str` field that YAML may write as a whole number (`cpu: 1`)."""
    return (
        BeforeValidator(_as_text),
        Field(pattern=pattern, max_length=maximum, json_schema_extra={INT_OR_STRING: True}),
    )


def keyed_list(*keys: str) -> dict[str, Any]:
    """Schema of a list whose items are told apart by `keys`: the API server refuses two with the same."""
    return {LIST_TYPE: "map", LIST_KEYS: list(keys)}


def unique_by(field: str, key: str) -> Rule:
    """Python's half of `keyed_list` (the API server checks the list type itself, so there is no CEL)."""
    return Rule(
        cel="",
        holds=lambda model: len({getattr(item, key) for item in getattr(model, field)}) == len(getattr(model, field)),
        message=f"must have no two items with the same {to_camel(key)}",
        fix="rename or remove the second",
        at=to_camel(field),
    )


# --- texts with a form ------------------------------------------------------------------------------------------------

DnsLabel = Annotated[str, Field(pattern="^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
CheckName = Annotated[str, Field(pattern="^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$", max_length=40)]
EnvName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]{0,127}$", max_length=128)]
SecretId = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,128}$", max_length=128)]
ProjectId = Annotated[str, Field(pattern="^[a-z][-a-z0-9]{2,28}[a-z0-9]$", max_length=30)]
Region = Annotated[str, Field(pattern="^[a-z]+-[a-z]+[0-9]+$", max_length=40)]
Bucket = Annotated[str, Field(pattern="^[a-z0-9][-a-z0-9_.]{1,61}[a-z0-9]$", max_length=63)]
ComputeName = Annotated[str, Field(pattern="^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
Image = Annotated[
    str,
    Field(
        pattern="^[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        max_length=400,
    ),
]
ServiceAccount = Annotated[
    str,
    Field(
        pattern="^[a-z][-a-z0-9]{4,28}[a-z0-9](@[a-z][-a-z0-9]{2,28}[a-z0-9][.]iam[.]gserviceaccount[.]com)?$",
        max_length=90,
    ),
]
UrlPath = Annotated[
    str,
    Field(
        pattern="^/(([A-Za-z0-9._~:=&,+?-]|%[0-9A-Fa-f]{2})([A-Za-z0-9._~:=&,+?/-]|%[0-9A-Fa-f]{2})*)?$", max_length=256
    ),
]
Argument = Annotated[str, Field(max_length=512)]
