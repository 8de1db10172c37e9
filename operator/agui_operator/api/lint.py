"""Checks manifests without a cluster: each document by itself, and what they say of each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from agui_operator.api.crd import GROUP, VERSION
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_environment, parse_policy
from agui_operator.api.suggest import nearest

_API_VERSION = f"{GROUP}/{VERSION}"
_PARSERS = {"AgUiDeployment": parse_deployment, "AgUiEnvironment": parse_environment, "AgUiPolicy": parse_policy}
_TEXT_MAX = 4 * 1024 * 1024
_DOCUMENTS_MAX = 1000
_REQUESTS = {f"{GROUP}/{kind}" for kind in ("promote", "promote-full", "abort", "retry", "pause", "resume", "undo")}
_KNOWN_FIELDS = {"apiVersion", "kind", "metadata", "spec", "status"}


@dataclass(slots=True)
class _Seen:
    """What the texts hold, for the checks across documents."""

    environments: dict[tuple[str, str], AgUiEnvironmentSpec] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)
    deployments: list[tuple[str, str, AgUiDeploymentSpec]] = field(default_factory=list)  # place, namespace, spec
    names: set[tuple[str, str, str]] = field(default_factory=set)  # of the text that is being read
    ours: int = 0  # documents of our kinds


class _Loader(yaml.SafeLoader):
    """YAML as the API server takes it: no dates, and a key is defined once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:str" and key.value in seen:
                problem = f"the key {key.value[:40]!r} is defined twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Linted:
    """What was found in all texts. `passed_over`: documents that are not ours; `ours` counts those that are."""

    findings: tuple[str, ...]
    passed_over: tuple[str, ...]
    ours: int


def lint(texts: Iterable[tuple[str, str]]) -> Linted:
    """Checks texts (name, content) together: a deployment may name an environment of another one. A finding is one
    line: `file[2] AgUiDeployment prod/shop: spec.backend.image: ...`. Never raises for any text."""
    seen = _Seen()
    findings: list[str] = []
    passed_over: list[str] = []
    for name, text in texts:
        seen.names = set()
        findings += _text(text, name, seen, passed_over)
    return Linted((*findings, *_across(seen)), tuple(passed_over), seen.ours)


def lint_documents(text: str, source_name: str) -> list[str]:
    """The findings in one text, one line each. Empty when all is well."""
    return list(lint([(source_name, text)]).findings)


def _text(text: str, source_name: str, seen: _Seen, passed_over: list[str]) -> Iterator[str]:
    try:
        documents = documents_of(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError) as exc:
        yield f"{source_name}: not readable as YAML: {_one_line(exc)}; correct it"
        return
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{source_name}[{number}]"
        if isinstance(document, Mapping) and not str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
            passed_over.append(f"{where}: {_one_line(document.get('kind'))} is not a kind of {GROUP}; passed over")
            continue
        seen.ours += 1
        yield from _document(document, where, seen)


def documents_of(text: str) -> list[Any]:
    """The documents of a YAML text. Raises yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError."""
    if len(text) > _TEXT_MAX:
        raise ValueError(f"larger than {_TEXT_MAX} characters")
    documents: list[Any] = []
    for document in yaml.load_all(text, Loader=_Loader):
        documents.append(document)
        if len(documents) > _DOCUMENTS_MAX:
            raise ValueError(f"more than {_DOCUMENTS_MAX} documents")
    return documents


def _document(document: Any, where: str, seen: _Seen) -> Iterator[str]:
    if not isinstance(document, Mapping):
        yield f"{where}: must be an object with apiVersion, kind, metadata and spec"
        return
    kind = document.get("kind")
    if document.get("apiVersion") != _API_VERSION:
        yield f"{where}: apiVersion: must be {_API_VERSION}, got {_one_line(document.get('apiVersion'))}; correct it"
        return
    if not isinstance(kind, str) or kind not in _PARSERS:
        near = nearest(str(kind), _PARSERS)
        fix = f"did you mean {near}?" if near is not None else "correct it"
        yield f"{where}: kind: must be one of {', '.join(_PARSERS)}, got {_one_line(kind)}; {fix}"
        return
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = metadata.get("name"), str(metadata.get("namespace", "default"))
    if not isinstance(name, str) or not name:
        yield f"{where}: metadata.name: is required; add it"
        return
    place = f"{where} {kind} {name}" if kind == "AgUiPolicy" else f"{where} {kind} {namespace}/{name}"
    if (kind, namespace, name) in seen.names:
        yield f"{place}: defined twice in this file; remove or rename one"
    seen.names.add((kind, namespace, name))
    if kind == "AgUiPolicy" and "namespace" in metadata:
        yield f"{place}: metadata.namespace: a policy has none; remove it"
    for key in sorted({str(key) for key in document} - _KNOWN_FIELDS):
        near = nearest(key, _KNOWN_FIELDS)
        fix = f"did you mean {near}?" if near is not None else "correct its name or remove it"
        yield f"{place}: {_one_line(key)}: is not a known field; {fix}"
    if metadata.get("finalizers"):
        yield f"{place}: metadata.finalizers: is the operator's; remove it, or a sync takes the operator's away"
    annotations = metadata.get("annotations")
    for key in sorted(map(str, annotations)) if isinstance(annotations, Mapping) and kind == "AgUiDeployment" else ():
        if key in _REQUESTS:
            fix = "remove it: a file that keeps it asks again at each sync; use kubectl annotate"
            yield f"{place}: metadata.annotations[{key}]: is a request; {fix}"
    yield from _spec(document.get("spec"), kind, namespace, name, place, seen)


def _spec(raw: Any, kind: str, namespace: str, name: str, place: str, seen: _Seen) -> Iterator[str]:
    try:
        spec = _PARSERS[kind](raw)
    except SpecInvalid as exc:
        yield from (f"{place}: {error}" for error in exc.errors)
        if kind == "AgUiEnvironment":
            seen.broken.add((namespace, name))
        return
    if isinstance(spec, AgUiDeploymentSpec):
        seen.deployments.append((place, namespace, spec))
    elif isinstance(spec, AgUiEnvironmentSpec):
        seen.environments[namespace, name] = spec


def _across(seen: _Seen) -> Iterator[str]:
    """A deployment against the environment that it names, where the text has that too."""
    for place, namespace, spec in seen.deployments:
        name = spec.environment_ref.name
        environment = seen.environments.get((namespace, name))
        if environment is not None:
            yield from (f"{place}: {finding}" for finding in _against(spec, environment, name))
        elif seen.environments and (namespace, name) not in seen.broken:
            yield f"{place}: spec.environmentRef.name: no AgUiEnvironment {namespace}/{name} in these files; correct it"


def _against(spec: AgUiDeploymentSpec, environment: AgUiEnvironmentSpec, name: str) -> Iterator[str]:
    fix = "add it to the AgUiEnvironment or remove it here"
    if spec.migrations is not None and environment.database is None:
        yield f"spec.migrations: environment {name} has no database; {fix}"
    if spec.frontend is not None and (environment.storage is None or environment.edge is None):
        yield f"spec.frontend: environment {name} has no storage or no edge; {fix}"
    channels = {c.name for c in environment.observability.channels} if environment.observability else set()
    for index, channel in enumerate(spec.alerts.channels if spec.alerts else ()):
        if channel not in channels:
            yield f"spec.alerts.channels[{index}]: environment {name} has no channel {channel}; {fix}"
    known = {s.name for s in environment.secrets}
    for index, secret in enumerate(spec.backend.secrets):
        if known and secret.secret not in known:
            yield f"spec.backend.secrets[{index}].secret: environment {name} has no secret {secret.secret}; {fix}"
    identities = {i.name for i in environment.identities}
    account = spec.backend.service_account
    if identities and "@" not in account and account not in identities:
        yield f"spec.backend.serviceAccount: environment {name} has no identity {account}; {fix}"


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:200]}..."
