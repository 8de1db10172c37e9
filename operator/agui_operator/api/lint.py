"""Checks manifests without a cluster: each document by itself, and what the documents of one text say of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from agui_operator.api.crd import GROUP, VERSION
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.environment import AgUiEnvironmentSpec
from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_environment, parse_policy

_API_VERSION = f"{GROUP}/{VERSION}"
_PARSERS = {"AgUiDeployment": parse_deployment, "AgUiEnvironment": parse_environment, "AgUiPolicy": parse_policy}
_TEXT_MAX = 4 * 1024 * 1024
_DOCUMENTS_MAX = 1000
_KNOWN_FIELDS = {"apiVersion", "kind", "metadata", "spec", "status"}


@dataclass(slots=True)
class _Seen:
    """What a text holds, for the checks across documents."""

    environments: dict[tuple[str, str], AgUiEnvironmentSpec] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)
    deployments: list[tuple[str, str, AgUiDeploymentSpec]] = field(default_factory=list)  # place, namespace, spec
    names: set[tuple[str, str, str]] = field(default_factory=set)


class _Loader(yaml.SafeLoader):
    """YAML as the API server takes it: no dates, and a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:str" and key.value in seen:
                problem = f"the key {key.value[:40]!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def lint_documents(text: str, source_name: str) -> list[str]:
    """Findings, one line each: `file[2] AgUiDeployment prod/shop: spec.backend.image: ...`. Empty when all is well.
    Documents of other kinds are passed over; `notes` says which. Never raises for any text."""
    findings, _ = _lint(text, source_name)
    return findings


def notes(text: str, source_name: str) -> list[str]:
    """What was not looked at: documents of kinds that are not ours."""
    _, passed_over = _lint(text, source_name)
    return passed_over


def _lint(text: str, source_name: str) -> tuple[list[str], list[str]]:
    try:
        documents = _documents(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError) as exc:
        return [f"{source_name}: not readable as YAML: {_one_line(exc)}; correct it"], []
    seen = _Seen()
    findings: list[str] = []
    passed_over: list[str] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{source_name}[{number}]"
        kind = document.get("kind") if isinstance(document, Mapping) else None
        if isinstance(document, Mapping) and not str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
            passed_over.append(f"{where}: {_one_line(kind)} is not a kind of {GROUP}; passed over")
            continue
        findings += _document(document, where, seen)
    return findings + list(_across(seen)), passed_over


def _documents(text: str) -> list[Any]:
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
        yield f"{where}: kind: must be one of {', '.join(_PARSERS)}, got {_one_line(kind)}; correct it"
        return
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = metadata.get("name"), str(metadata.get("namespace", "default"))
    if not isinstance(name, str) or not name:
        yield f"{where}: metadata.name: is required; add it"
        return
    place = f"{where} {kind} {name}" if kind == "AgUiPolicy" else f"{where} {kind} {namespace}/{name}"
    if (kind, namespace, name) in seen.names:
        yield f"{place}: stands twice in this text; remove or rename one"
    seen.names.add((kind, namespace, name))
    if kind == "AgUiPolicy" and "namespace" in metadata:
        yield f"{place}: metadata.namespace: a policy has none; remove it"
    for key in sorted({str(key) for key in document} - _KNOWN_FIELDS):
        yield f"{place}: {_one_line(key)}: is not a known field; correct its name or remove it"
    if metadata.get("finalizers"):
        yield f"{place}: metadata.finalizers: is the operator's; remove it, or a sync takes the operator's away"
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
            yield f"{place}: spec.environmentRef.name: no AgUiEnvironment {namespace}/{name} in this text; correct it"


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
