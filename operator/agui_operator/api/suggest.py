"""The field that was probably meant, for a key that no field has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel


def meant(model: type[BaseModel], loc: Sequence[int | str]) -> str | None:
    """The field nearest to the unknown key at the end of `loc`; None: no field is near."""
    owners = {model}
    for part in loc[:-1]:
        if isinstance(part, str):
            owners = {inner for owner in owners for inner in _models_of(owner, part)}
    return nearest(str(loc[-1]), [str(f.alias or name) for o in owners for name, f in o.model_fields.items()])


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word of `known` that is nearest, if one is near; the case of letters does not count."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower()[:100], list(by_lower), n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def _models_of(owner: type[BaseModel], alias: str) -> Iterator[type[BaseModel]]:
    for name, field in owner.model_fields.items():
        if alias in (field.alias, name):
            yield from _inside(field.annotation)


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)
