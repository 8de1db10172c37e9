"""Which resources an environment stands on: those that a specification names, and those that a new one needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agui_operator.api.environment import AgUiEnvironmentSpec, Database, Edge, Management
from agui_operator.core.names import bounded
from agui_operator.core.provisioning.graph import Graph, Node, Ref, Site

API_PATHS = ("/copilotkit", "/api", "/agent", "/ws")
_OWNER_LENGTH = 63  # of a label's value


def observed_graph(spec: AgUiEnvironmentSpec) -> Graph:
    """Everything that a specification names, to be looked at only."""
    return Graph(Site(spec.project_id, spec.region, owner=""), observed_nodes(spec))


def observed_nodes(spec: AgUiEnvironmentSpec) -> tuple[Node, ...]:
    """The same, in the order of the specification; what is named twice is one node."""
    return tuple({node.id: node for node in _named(spec)}.values())


def _named(spec: AgUiEnvironmentSpec) -> Iterator[Node]:
    if spec.database is not None:
        yield from _database(spec.database)
    if spec.storage is not None:
        yield _observed("Bucket", spec.storage.assets.bucket)
        yield _observed("Bucket", spec.storage.artifacts.bucket)
    if spec.edge is not None:
        yield from _edge(spec.edge)
    yield from (_observed("Secret", secret.name) for secret in spec.secrets)
    for channel in spec.observability.channels if spec.observability is not None else ():
        yield _observed("NotificationChannel", channel.name, resource=channel.resource)


def _database(database: Database) -> Iterator[Node]:
    instance = _observed("SqlInstance", database.instance)
    yield instance
    for name in database.databases:
        desired = {"instance": database.instance, "name": name}
        yield Node(f"SqlDatabase/{name}", "SqlDatabase", desired, (instance.id,), Management.OBSERVED)


def _edge(edge: Edge) -> Iterator[Node]:
    yield _observed("UrlMap", edge.url_map)
    yield _observed("BackendBucket", edge.backend_bucket)
    yield _observed("BackendService", edge.backend_service)


def _observed(kind: str, name: str, **desired: Any) -> Node:
    return Node(f"{kind}/{name}", kind, {"name": name, **desired}, management=Management.OBSERVED)


@dataclass(frozen=True, slots=True)
class NewEnvironment:
    """An environment that is to be created. `service` is the Cloud Run service that the API paths lead to."""

    name: str
    namespace: str
    project: str
    region: str
    domain: str
    service: str
    instance: str = "main"
    database: str = "app"
    user: str = "app"
    secret: str = "concierge-db"  # noqa: S105  (the name of a secret)
    channel: str = "oncall"

    @property
    def site(self) -> Site:
        """Where it is; the owner is a pure function of its namespace and name, so that creating it can be repeated."""
        return Site(self.project, self.region, bounded(f"{self.namespace}-{self.name}", _OWNER_LENGTH))

    @property
    def assets_bucket(self) -> str:
        return f"{self.project}-assets"

    @property
    def artifacts_bucket(self) -> str:
        return f"{self.project}-artifacts"


def new_graph(new: NewEnvironment) -> Graph:
    """All resources of a new environment. Data is retained when the environment is deleted."""
    return Graph(new.site, (*_new_data(new), *_new_edge(new), _new_channel(new)))


def _new_data(new: NewEnvironment) -> Iterator[Node]:
    instance = {"name": new.instance, "version": "POSTGRES_16", "tier": "db-custom-1-3840", "region": new.region}
    yield Node("database", "SqlInstance", instance, retain=True)
    database = {"instance": new.instance, "name": new.database}
    yield Node("app-database", "SqlDatabase", database, ("database",), retain=True)
    yield Node("password", "Secret", {"name": new.secret, "generated": True}, retain=True)
    user = {"instance": new.instance, "name": new.user, "secret": Ref("password", "name")}
    yield Node("app-user", "SqlUser", user, ("database",), retain=True)
    for role, bucket in (("assets", new.assets_bucket), ("artifacts", new.artifacts_bucket)):
        yield Node(role, "Bucket", {"name": bucket, "location": new.region.upper()}, retain=True)


def _new_edge(new: NewEnvironment) -> Iterator[Node]:
    name = new.name
    yield Node("endpoint-group", "ServerlessNeg", {"name": name, "service": new.service})
    service = {"name": name, "group": Ref("endpoint-group", "link"), "protocol": "HTTPS"}
    yield Node("backend-service", "BackendService", service)
    bucket = {"name": f"{name}-assets", "bucket": Ref("assets", "name"), "cdn": True}
    yield Node("backend-bucket", "BackendBucket", bucket)
    yield Node("url-map", "UrlMap", {"name": name, "default": Ref("backend-bucket", "link")})
    yield Node("proxy", "TargetHttpProxy", {"name": name, "url_map": Ref("url-map", "link")})
    rule = {"name": name, "target": Ref("proxy", "link"), "port": 80}
    yield Node("forwarding-rule", "ForwardingRule", rule)


def _new_channel(new: NewEnvironment) -> Node:
    email = f"{new.channel}@{new.name}.example"
    return Node("channel", "NotificationChannel", {"name": new.channel, "email": email})


def document(new: NewEnvironment, outputs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The AgUiEnvironment of a new environment, which names what was created. `outputs` by node."""
    spec = {
        "projectId": new.project,
        "region": new.region,
        "tier": "dev",
        "database": {
            "instance": new.instance,
            "databases": [new.database],
            "users": [{"name": new.user, "secret": new.secret}],
        },
        "storage": {"assets": {"bucket": new.assets_bucket}, "artifacts": {"bucket": new.artifacts_bucket}},
        "edge": {
            "domain": new.domain,
            "urlMap": new.name,
            "backendBucket": f"{new.name}-assets",
            "backendService": new.name,
            "apiPaths": list(API_PATHS),
        },
        "secrets": [{"name": new.secret}],
        "observability": {"channels": [{"name": new.channel, "resource": outputs["channel"]["name"]}]},
    }
    return {
        "apiVersion": "agui.dev/v1alpha1",
        "kind": "AgUiEnvironment",
        "metadata": {"name": new.name, "namespace": new.namespace},
        "spec": spec,
    }
