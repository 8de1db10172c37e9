"""`localgcp init`: creates the resources of an environment through the public APIs.

Each step looks first and creates only what is missing, so that it can be repeated after any interruption. The database
password is made here, kept in Secret Manager, and shown nowhere.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from localgcp.cli.client import RequestFailed, ask

_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.1
_API_PATHS = ["/copilotkit", "/api", "/agent", "/ws"]


class InitError(Exception):
    """A step failed; the message names it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to create. `service` is the Cloud Run service that the load balancer's API paths lead to."""

    environment: str
    namespace: str
    service: str
    domain: str = ""  # "": the local edge itself
    instance: str = "main"
    database: str = "app"
    user: str = "app"
    secret: str = "concierge-db"  # noqa: S105  (the name of a secret)
    channel: str = "oncall"


def create_environment(endpoint: str, plan: Plan) -> str:
    """Creates what is missing, and returns the AgUiEnvironment as YAML. Raises InitError."""
    try:
        status = ask(endpoint, "GET", "/_localgcp/status")
    except RequestFailed as error:
        raise InitError(str(error)) from error
    cloud = _Cloud(endpoint, status["project"], status["region"])
    with _step("Cloud SQL"):
        cloud.database(plan)
    with _step("Secret Manager and the database user"):
        cloud.database_user(plan)
    with _step("Cloud Storage"):
        cloud.buckets(plan)
    with _step("the load balancer"):
        cloud.load_balancer(plan)
    with _step("Cloud Monitoring"):
        channel = cloud.channel(plan)
    return _environment(plan, cloud, plan.domain or status["edge"], channel)


@contextmanager
def _step(title: str) -> Iterator[None]:
    try:
        yield
    except RequestFailed as error:
        raise InitError(f"{title}: {error}") from error


class _Cloud:
    def __init__(self, endpoint: str, project: str, region: str) -> None:
        self._endpoint, self.project, self.region = endpoint, project, region
        self._sql = f"/v1/projects/{project}/instances"
        self._compute = f"/compute/v1/projects/{project}"

    @property
    def assets_bucket(self) -> str:
        return f"{self.project}-assets"

    @property
    def artifacts_bucket(self) -> str:
        return f"{self.project}-artifacts"

    def database(self, plan: Plan) -> None:
        instance = {
            "name": plan.instance,
            "region": self.region,
            "databaseVersion": "POSTGRES_16",
            "settings": {"tier": "db-custom-1-3840"},
        }
        self._ensure(f"{self._sql}/{plan.instance}", self._sql, instance)
        databases = f"{self._sql}/{plan.instance}/databases"
        self._ensure(f"{databases}/{plan.database}", databases, {"name": plan.database})

    def database_user(self, plan: Plan) -> None:
        """The secret comes first: after an interruption the next run gives the user that password."""
        users = f"{self._sql}/{plan.instance}/users"
        secrets_path = f"/v1/projects/{self.project}/secrets"
        secret = f"{secrets_path}/{plan.secret}"
        self._ensure(secret, f"{secrets_path}?secretId={plan.secret}", {"replication": {"automatic": {}}})
        if self._get(f"{secret}/versions/latest") is None:
            payload = base64.b64encode(secrets.token_urlsafe(24).encode()).decode()
            self._post(f"{secret}:addVersion", {"payload": {"data": payload}})
        known = (self._get(users) or {}).get("items", [])
        if plan.user not in [user["name"] for user in known]:
            access = ask(self._endpoint, "GET", f"{secret}/versions/latest:access")
            password = base64.b64decode(access["payload"]["data"]).decode()
            self._post(users, {"name": plan.user, "password": password})

    def buckets(self, plan: Plan) -> None:
        for name in (self.assets_bucket, self.artifacts_bucket):
            bucket = {"name": name, "location": self.region.upper()}
            self._ensure(f"/storage/v1/b/{name}", f"/storage/v1/b?project={self.project}", bucket)

    def load_balancer(self, plan: Plan) -> None:
        regional = f"{self._compute}/regions/{self.region}"
        name = plan.environment
        group = {"name": name, "networkEndpointType": "SERVERLESS", "cloudRun": {"service": plan.service}}
        backend_service = {
            "name": name,
            "protocol": "HTTPS",
            "loadBalancingScheme": "EXTERNAL_MANAGED",
            "backends": [{"group": self._link(f"regions/{self.region}/networkEndpointGroups/{name}")}],
        }
        bucket = {"name": f"{name}-assets", "bucketName": self.assets_bucket, "enableCdn": True}
        url_map = {"name": name, "defaultService": self._link(f"global/backendBuckets/{name}-assets")}
        proxy = {"name": name, "urlMap": self._link(f"global/urlMaps/{name}")}
        rule = {
            "name": name,
            "target": self._link(f"global/targetHttpProxies/{name}"),
            "portRange": "80",
            "loadBalancingScheme": "EXTERNAL_MANAGED",
        }
        for collection, body in (
            (f"{regional}/networkEndpointGroups", group),
            (f"{self._compute}/global/backendServices", backend_service),
            (f"{self._compute}/global/backendBuckets", bucket),
            (f"{self._compute}/global/urlMaps", url_map),
            (f"{self._compute}/global/targetHttpProxies", proxy),
            (f"{self._compute}/global/forwardingRules", rule),
        ):
            self._ensure(f"{collection}/{body['name']}", collection, body)

    def channel(self, plan: Plan) -> str:
        """Resource name of the notification channel with the plan's display name."""
        path = f"/v3/projects/{self.project}/notificationChannels"
        for channel in (self._get(path) or {}).get("notificationChannels", []):
            if channel.get("displayName") == plan.channel:
                return str(channel["name"])
        address = {"email_address": f"{plan.channel}@{plan.environment}.example"}
        body = {"type": "email", "displayName": plan.channel, "labels": address}
        return str(ask(self._endpoint, "POST", path, body)["name"])

    def _link(self, path: str) -> str:
        return f"https://www.googleapis.com{self._compute}/{path}"

    def _ensure(self, name: str, collection: str, body: Mapping[str, Any]) -> None:
        if self._get(name) is None:
            self._post(collection, body)

    def _get(self, path: str) -> Any:
        try:
            return ask(self._endpoint, "GET", path)
        except RequestFailed as error:
            if error.status == 404:
                return None
            raise

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        """Creates, and waits for the end of the operation where the API answers with one."""
        answer = ask(self._endpoint, "POST", path, body)
        deadline = time.monotonic() + _WAIT_SECONDS
        kind = str(answer.get("kind", ""))
        while kind.endswith("#operation") and answer["status"] != "DONE":
            if time.monotonic() > deadline:
                raise RequestFailed(504, f"{path}: the operation did not end within {_WAIT_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
            answer = ask(self._endpoint, "GET", self._operation(kind, answer))
        if kind.endswith("#operation") and answer.get("error"):
            raise RequestFailed(500, f"{path}: {answer['error']}")

    def _operation(self, kind: str, answer: Mapping[str, Any]) -> str:
        if kind.startswith("sql#"):
            return f"/v1/projects/{self.project}/operations/{answer['name']}"
        scope = f"regions/{str(answer['region']).rpartition('/')[2]}" if answer.get("region") else "global"
        return f"{self._compute}/{scope}/operations/{answer['name']}"


def _environment(plan: Plan, cloud: _Cloud, domain: str, channel: str) -> str:
    """The environment as the operator's users write it: everything exists already, so all parts are Observed."""
    spec = {
        "projectId": cloud.project,
        "region": cloud.region,
        "tier": "dev",
        "database": {
            "instance": plan.instance,
            "databases": [plan.database],
            "users": [{"name": plan.user, "secret": plan.secret}],
        },
        "storage": {"assets": {"bucket": cloud.assets_bucket}, "artifacts": {"bucket": cloud.artifacts_bucket}},
        "edge": {
            "domain": domain,
            "urlMap": plan.environment,
            "backendBucket": f"{plan.environment}-assets",
            "backendService": plan.environment,
            "apiPaths": _API_PATHS,
        },
        "secrets": [{"name": plan.secret}],
        "observability": {"channels": [{"name": plan.channel, "resource": channel}]},
    }
    document = {
        "apiVersion": "agui.dev/v1alpha1",
        "kind": "AgUiEnvironment",
        "metadata": {"name": plan.environment, "namespace": plan.namespace},
        "spec": spec,
    }
    return yaml.safe_dump(document, sort_keys=False)
