"""From the JSON of an object to its model, or to sentences that say what to change.

Whatever comes in, SpecInvalid is the only exception that goes out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agui_operator.api.base import Model
from agui_operator.api.deployment import AgUiDeploymentSpec, DeletionPolicy
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.policy import AgUiPolicySpec
from agui_operator.api.suggest import meant

SPEC_BYTES = 65536
_ERRORS_MAX = 50
_SHOWN_MAX = 5
_VALUE_MAX = 60
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing to change: where (`spec.backend.image`), what is wrong and what to do."""

    path: str
    message: str
    fix: str
    loc: tuple[int | str, ...] = ()  # where, as steps from the spec
    unknown: bool = False  # a field that the model does not have

    def __str__(self) -> str:
        return f"{self.path}: {self.message}; {self.fix}"


class SpecInvalid(Exception):
    """The spec can't be used; its text has one sentence per error."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        shown = ". ".join(str(error) for error in self.errors[:_SHOWN_MAX])
        more = len(self.errors) - _SHOWN_MAX
        return f"{shown}. And {more} more" if more > 0 else shown


def parse_deployment(spec: Mapping[str, Any]) -> AgUiDeploymentSpec:
    """The spec of an AgUiDeployment. Raises SpecInvalid."""
    return _parse(AgUiDeploymentSpec, spec)


def parse_stored(model: type[M], spec: Any) -> tuple[M, tuple[str, ...]]:
    """A spec that the API server has stored, and the fields in it that this version does not know. They are of a newer
    CRD, which refuses typos itself: they are ignored here and told. Raises SpecInvalid for everything else."""
    ignored: list[str] = []
    plain = json.loads(_as_json(spec))
    while True:
        try:
            return _parse(model, plain), tuple(ignored)
        except SpecInvalid as exc:
            unknown = [error.loc for error in exc.errors if error.unknown]
            if not unknown:
                raise
            for loc in unknown:
                _drop(plain, loc)
                ignored.append(_path(loc))


def _drop(node: Any, loc: tuple[int | str, ...]) -> None:
    for part in loc[:-1]:
        node = node[part]
    del node[loc[-1]]


def parse_deletion_policy(spec: Any) -> DeletionPolicy:
    """`deletionPolicy` of an AgUiDeployment's spec whose other fields may be invalid; absent, it is the documented
    default. Raises SpecInvalid."""
    if not isinstance(spec, Mapping):
        raise SpecInvalid((FieldError("spec", "must be an object", "write fields below spec"),))
    try:
        return _parse(DeletionPolicy, spec.get("deletionPolicy", {}))
    except SpecInvalid as exc:
        below = "spec.deletionPolicy"
        raise SpecInvalid(tuple(replace(e, path=e.path.replace("spec", below, 1)) for e in exc.errors)) from None


def parse_environment(spec: Mapping[str, Any]) -> AgUiEnvironmentSpec:
    """The spec of an AgUiEnvironment. Raises SpecInvalid."""
    return _parse(AgUiEnvironmentSpec, spec)


def parse_policy(spec: Mapping[str, Any]) -> AgUiPolicySpec:
    """The spec of an AgUiPolicy. Raises SpecInvalid."""
    return _parse(AgUiPolicySpec, spec)


def _parse(model: type[M], spec: Any) -> M:
    text = _as_json(spec)
    try:
        # through JSON: strict there means what it means to the API server (no "8080" for 8080, no 1 for true)
        return model.model_validate_json(text, strict=True)
    except ValidationError as exc:
        raw = [error for error in exc.errors(include_url=False) if not _echo(error)]
        raise SpecInvalid(tuple(_field_error(error, model) for error in raw[:_ERRORS_MAX])) from None
    except (ValueError, RecursionError, OverflowError):
        raise SpecInvalid((FieldError("spec", "must be JSON", "remove what is nested too deeply"),)) from None


_TOO_LARGE = FieldError("spec", f"must be at most {SPEC_BYTES} bytes of JSON", "shorten its longest texts and lists")


def _as_json(spec: Any) -> str:
    if not isinstance(spec, Mapping):
        raise SpecInvalid((FieldError("spec", "must be an object", "write fields below spec"),))
    try:
        text = json.dumps(_plain(spec, iter(range(SPEC_BYTES))), allow_nan=False)
    except StopIteration:
        raise SpecInvalid((_TOO_LARGE,)) from None
    except (TypeError, ValueError, RecursionError, OverflowError):
        fix = "use strings, numbers, true and false, lists and objects with string keys"
        raise SpecInvalid((FieldError("spec", "must be JSON", fix),)) from None
    if len(text) > SPEC_BYTES:
        raise SpecInvalid((_TOO_LARGE,))
    return text


def _plain(value: Any, budget: Iterator[int]) -> Any:
    """Views of other Mapping types (kopf's) as dicts; the budget ends what YAML aliases can make of a small text."""
    next(budget)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys must be strings")
        return {key: _plain(child, budget) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child, budget) for child in value]
    return value


# --- sentences --------------------------------------------------------------------------------------------------------


def _range(word: str, key: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    return lambda ctx: (f"must be {word} {ctx[key]:g}", "use a number within the bounds")


def _size(unit: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    def sentence(ctx: Mapping[str, Any]) -> tuple[str, str]:
        if "max_length" in ctx:
            return f"must have at most {ctx['max_length']} {unit}", "shorten it"
        return f"must have at least {ctx['min_length']} {unit}", "fill it or remove the field"

    return sentence


def _expected(ctx: Mapping[str, Any]) -> tuple[str, str]:
    return f"must be {str(ctx['expected']).replace(chr(39), '')}", "choose one of them"


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "missing": lambda ctx: ("is required", "add it"),
    "extra_forbidden": lambda ctx: ("is not a known field", "correct its name or remove it"),
    "string_type": lambda ctx: ("must be a string", "quote it"),
    "int_type": lambda ctx: ("must be a whole number", "write it without quotes and fraction"),
    "int_from_float": lambda ctx: ("must be a whole number", "write it without a fraction"),
    "int_parsing_size": lambda ctx: ("must be a smaller number", "use a number within the bounds"),
    "float_type": lambda ctx: ("must be a number", "write it without quotes"),
    "finite_number": lambda ctx: ("must be a finite number", "use a number within the bounds"),
    "bool_type": lambda ctx: ("must be true or false", "write it without quotes"),
    "tuple_type": lambda ctx: ("must be a list", "begin each item with a dash"),
    "model_type": lambda ctx: ("must be an object", "write fields below it"),
    "model_attributes_type": lambda ctx: ("must be an object", "write fields below it"),
    "greater_than_equal": _range("at least", "ge"),
    "less_than_equal": _range("at most", "le"),
    "greater_than": _range("above", "gt"),
    "less_than": _range("below", "lt"),
    "string_too_long": _size("characters"),
    "string_too_short": _size("characters"),
    "too_long": _size("items"),
    "too_short": _size("items"),
    "literal_error": _expected,
    "enum": _expected,
    "string_pattern_mismatch": lambda ctx: ("has a form that is not allowed", f"it must match {ctx['pattern']}"),
    "json_invalid": lambda ctx: ("must be JSON with valid Unicode and at most 100 levels", "correct or flatten it"),
}

# what is clearer than the general sentence, by the name of the field
_BETTER: Mapping[tuple[str, str], tuple[str, str]] = {
    ("setWeight", "greater_than_equal"): ("must be 0..100", "use a whole percentage"),
    ("setWeight", "less_than_equal"): ("must be 0..100", "use a whole percentage"),
    ("setWeight", "int_type"): ("must be 0..100", "use a whole percentage"),
    ("setWeight", "int_from_float"): ("must be 0..100", "use a whole percentage"),
    ("sha256", "string_pattern_mismatch"): ("must be 64 hex digits in lower case", "use the output of sha256sum"),
    ("image", "string_pattern_mismatch"): (
        "must be registry/repository:tag or registry/repository@sha256:digest",
        "write the full reference in lower case",
    ),
    ("path", "string_pattern_mismatch"): ("must be a path such as /readyz", "leave scheme, host and fragment out"),
    ("memory", "string_pattern_mismatch"): ("must be an amount such as 512Mi or 1Gi", "use Mi or Gi"),
    ("cpu", "string_pattern_mismatch"): (
        "must be 1 to 8, or less than 1 such as 500m",
        "use a value that Cloud Run supports",
    ),
    ("version", "string_pattern_mismatch"): ("has characters that are not allowed", "use letters, digits and . _ + -"),
}


def _echo(error: ErrorDetails) -> bool:
    """True for a list that pydantic calls too short only because an item in it is wrong and has an error of its own."""
    found = error["input"]
    return error["type"] == "too_short" and isinstance(found, list) and len(found) >= error["ctx"]["min_length"]


def _field_error(error: ErrorDetails, model: type[Model]) -> FieldError:
    ctx: Mapping[str, Any] = error.get("ctx") or {}
    path = _path(error["loc"])
    kind = error["type"]
    last = next((str(part) for part in reversed(error["loc"]) if isinstance(part, str)), "")
    if kind == "rule":
        where = f"{path}.{ctx['at']}" if ctx.get("at") else path
        return FieldError(where, str(ctx["message"]), str(ctx["fix"]))
    if (last, kind) in _BETTER:
        message, fix = _BETTER[last, kind]
    elif kind in _SENTENCES:
        message, fix = _SENTENCES[kind](ctx)
    else:
        message, fix = error["msg"], str(ctx.get("fix", "correct it"))
    if kind == "extra_forbidden" and (name := meant(model, error["loc"])) is not None:
        fix = f"did you mean {name}?"
    if kind not in ("missing", "extra_forbidden", "json_invalid"):
        message = f"{message}, got {_shown(error['input'])}"
    return FieldError(path, message, fix, error["loc"], kind == "extra_forbidden")


def _path(loc: tuple[int | str, ...]) -> str:
    path = "spec"
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.replace("-", "_").isidentifier() and part.isascii() and len(part) <= 64:
            path += f".{part}"
        else:
            path += f"[{_shown(part)}]"
    return path


def _shown(value: Any) -> str:
    """A value as it may be repeated in a message: short, on one line, never the content of something large."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} items"
    if value is None:
        return "null"
    text = json.dumps(value, default=str)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}... ({len(text)} characters)"
