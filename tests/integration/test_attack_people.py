"""What people may do with the three resources, by the ClusterRoles view, edit and admin: real requests as each of them.

The roles are bound in one namespace. Writes are dry runs of the API server: authorised, admitted and not stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_dev.testbed.releases import ENVIRONMENT, NAME, policy, release

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
OPERATORS = "agui-system"
WHO = ("view", "edit", "admin")
NOBODY, EDITORS, ADMINS, EVERYBODY = (), ("edit", "admin"), ("admin",), WHO
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = "application/merge-patch+json"
ENVIRONMENT_SPEC = {"projectId": "demo", "region": "us-central1"}
POLICY = f"people-{uuid.uuid4().hex[:8]}"


def document(kind: str, name: str, **more: Any) -> Json:
    return {"apiVersion": "agui.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, **more}


class Stage:
    """One namespace with an object of each kind, and each role's user in it."""

    def __init__(self, plane: ControlPlane, namespace: str, other: str) -> None:
        self.namespace, self.other = namespace, other
        self.api = KubeApi(plane.kubeconfig)
        self.people = {who: KubeApi(plane.kubeconfig, f"{who}-{namespace}") for who in WHO}
        for who in WHO:
            for role in self._roles(who):
                self._bind(who, role)
        for place in (namespace, other):
            self.api.apply(release(place, "v1"))
            environment = document("AgUiEnvironment", ENVIRONMENT, spec=ENVIRONMENT_SPEC)
            environment["metadata"]["namespace"] = place
            self.api.apply(environment)
        self.api.apply(policy(POLICY, (namespace,)))

    def _roles(self, who: str) -> list[str]:
        """The roles that the cluster's own role gathers by label, ours among them: a controller manager does that, and
        none runs here."""
        found: list[str] = []
        for name in WHO[: WHO.index(who) + 1]:
            selector = f"rbac.authorization.k8s.io/aggregate-to-{name}=true"
            listed = self.api.call("GET", f"{RBAC}/clusterroles?labelSelector={selector}")["items"]
            found += [role["metadata"]["name"] for role in listed]
        assert {f"agui-{name}" for name in WHO[: WHO.index(who) + 1]} <= set(found)
        return [name for name in dict.fromkeys(found) if name not in WHO]

    def _bind(self, who: str, role: str) -> None:
        user = {"kind": "User", "name": f"{who}-{self.namespace}", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{who}-{role.replace(':', '-')}", "namespace": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [user],
        }
        self.api.call("POST", f"{RBAC}/namespaces/{self.namespace}/rolebindings", binding)

    def allowed(self, who: str, method: str, path: str, body: Json | None = None) -> bool:
        """True unless the API server forbids it."""
        path = path.format(here=self.namespace, other=self.other)
        if method != "GET":
            path += ("&" if "?" in path else "?") + "dryRun=All"
        try:
            self.people[who].call(method, path, body, MERGE if method == "PATCH" else "application/json")
        except ApiRefused as refused:
            if refused.code not in (403, 404, 405, 409, 422):
                raise
            return refused.code != 403
        return True

    def close(self) -> None:
        self.api.delete("", POLICY, "aguipolicies")
        for api in (self.api, *self.people.values()):
            api.close()


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    for kind in ("aguideployments", "aguienvironments", "aguipolicies"):
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{kind}.agui.dev", "--timeout=60s")
    for name in ("namespace", "service-account", "rbac", "rbac-people"):
        control_plane.kubectl("apply", "-f", str(ROOT / "manifests/base" / f"{name}.yaml"))
    names = [f"p-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        control_plane.kubectl("create", "namespace", name)
    stage = Stage(control_plane, *names)
    yield stage
    stage.close()
    control_plane.kubectl("delete", "namespace", *names, "--wait=false")


AGUI = "/apis/agui.dev/v1alpha1"
HERE, OTHER = f"{AGUI}/namespaces/{{here}}", f"{AGUI}/namespaces/{{other}}"
DEPLOYMENTS, ENVIRONMENTS, POLICIES = (
    f"{HERE}/aguideployments",
    f"{HERE}/aguienvironments",
    f"{AGUI}/aguipolicies",
)
SYSTEM = f"/api/v1/namespaces/{OPERATORS}"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{OPERATORS}/leases"
ANNOTATED = {"metadata": {"annotations": {"agui.dev/promote": "true"}}}
UNFINISHED: Json = {"metadata": {"finalizers": []}}
STATUS = {"status": {"phase": "Healthy"}}
NEW = {kind: document(kind, "new", spec=ENVIRONMENT_SPEC) for kind in ("AgUiEnvironment",)}
NEW_RELEASE = {**release("x", "v1", name="new"), "metadata": {"name": "new"}}
NEW_POLICY = {**policy("new", ("*",))}
ESCALATION = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "more"},
    "rules": [{"apiGroups": ["agui.dev"], "resources": ["aguideployments/status"], "verbs": ["patch"]}],
}
AS_OPERATOR = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "more"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "agui-operator"},
    "subjects": [{"kind": "User", "name": "anybody", "apiGroup": "rbac.authorization.k8s.io"}],
}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}

# Who may: a request, and the roles that are allowed to make it.
REQUESTS: list[tuple[str, tuple[str, str, Json | None], tuple[str, ...]]] = [
    ("read deployments", ("GET", DEPLOYMENTS, None), EVERYBODY),
    ("read a status", ("GET", f"{DEPLOYMENTS}/{NAME}", None), EVERYBODY),
    ("read environments", ("GET", ENVIRONMENTS, None), EVERYBODY),
    ("create a deployment", ("POST", DEPLOYMENTS, NEW_RELEASE), EDITORS),
    ("edit a deployment", ("PATCH", f"{DEPLOYMENTS}/{NAME}", {"spec": {"version": "v2"}}), EDITORS),
    ("ask by annotation", ("PATCH", f"{DEPLOYMENTS}/{NAME}", ANNOTATED), EDITORS),
    ("delete a deployment", ("DELETE", f"{DEPLOYMENTS}/{NAME}", None), EDITORS),
    ("delete all deployments at once", ("DELETE", DEPLOYMENTS, None), NOBODY),
    # whoever may edit an object may edit its metadata: Kubernetes has no right of its own for finalizers of objects
    ("take the finalizer off a deployment", ("PATCH", f"{DEPLOYMENTS}/{NAME}", UNFINISHED), EDITORS),
    ("take the finalizer off an environment", ("PATCH", f"{ENVIRONMENTS}/{ENVIRONMENT}", UNFINISHED), ADMINS),
    ("use the finalizers subresource", ("PATCH", f"{DEPLOYMENTS}/{NAME}/finalizers", UNFINISHED), NOBODY),
    ("create an environment", ("POST", ENVIRONMENTS, NEW["AgUiEnvironment"]), ADMINS),
    ("edit an environment", ("PATCH", f"{ENVIRONMENTS}/{ENVIRONMENT}", {"spec": {"projectId": "victim"}}), ADMINS),
    ("delete an environment", ("DELETE", f"{ENVIRONMENTS}/{ENVIRONMENT}", None), ADMINS),
    ("write a deployment's status", ("PATCH", f"{DEPLOYMENTS}/{NAME}/status", STATUS), NOBODY),
    ("write an environment's status", ("PATCH", f"{ENVIRONMENTS}/{ENVIRONMENT}/status", STATUS), NOBODY),
    ("read policies", ("GET", POLICIES, None), NOBODY),
    ("read the policy", ("GET", f"{POLICIES}/{POLICY}", None), NOBODY),
    ("create a policy", ("POST", POLICIES, NEW_POLICY), NOBODY),
    ("edit the policy", ("PATCH", f"{POLICIES}/{POLICY}", {"spec": {"namespaces": ["*"]}}), NOBODY),
    ("delete the policy", ("DELETE", f"{POLICIES}/{POLICY}", None), NOBODY),
    ("write a policy's status", ("PATCH", f"{POLICIES}/{POLICY}/status", {"status": {}}), NOBODY),
    ("read deployments of another namespace", ("GET", f"{OTHER}/aguideployments", None), NOBODY),
    ("read deployments of all namespaces", ("GET", f"{AGUI}/aguideployments", None), NOBODY),
    ("edit a deployment of another namespace", ("PATCH", f"{OTHER}/aguideployments/{NAME}", ANNOTATED), NOBODY),
    ("edit an environment of another namespace", ("PATCH", f"{OTHER}/aguienvironments/{ENVIRONMENT}", {}), NOBODY),
    ("read the operator's secrets", ("GET", f"{SYSTEM}/secrets", None), NOBODY),
    ("read the operator's account", ("GET", f"{SYSTEM}/serviceaccounts/agui-operator", None), NOBODY),
    ("get the operator's token", ("POST", f"{SYSTEM}/serviceaccounts/agui-operator/token", TOKEN), NOBODY),
    ("edit the operator's Deployment", ("PATCH", f"/apis/apps/v1/namespaces/{OPERATORS}/deployments/o", {}), NOBODY),
    ("read the operator's lease", ("GET", f"{LEASE}/agui-operator", None), NOBODY),
    ("take the operator's lease", ("PATCH", f"{LEASE}/agui-operator", {"spec": {"holderIdentity": "x"}}), NOBODY),
    ("delete the operator's lease", ("DELETE", f"{LEASE}/agui-operator", None), NOBODY),
    ("start a pod beside the operator", ("POST", f"{SYSTEM}/pods", {}), NOBODY),
    (
        "read the network policy",
        ("GET", f"/apis/networking.k8s.io/v1/namespaces/{OPERATORS}/networkpolicies", None),
        NOBODY,
    ),
    ("give themselves the status", ("POST", f"{RBAC}/namespaces/{{here}}/roles", ESCALATION), NOBODY),
    ("give somebody the operator's role", ("POST", f"{RBAC}/namespaces/{{here}}/rolebindings", AS_OPERATOR), NOBODY),
    ("change the shipped roles", ("PATCH", f"{RBAC}/clusterroles/agui-edit", {"rules": []}), NOBODY),
    (
        "change the resource definition",
        ("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/aguipolicies.agui.dev", {}),
        NOBODY,
    ),
]


@pytest.mark.parametrize(("request_", "allowed"), [r[1:] for r in REQUESTS], ids=[r[0] for r in REQUESTS])
def test_who_may(stage: Stage, request_: tuple[str, str, Json | None], allowed: tuple[str, ...]) -> None:
    found = tuple(who for who in WHO if stage.allowed(who, *request_))
    assert found == allowed


def test_the_shipped_roles_name_every_resource_or_none() -> None:
    """A right that is added to a shipped role needs a row here."""
    shipped = list(yaml.safe_load_all((ROOT / "manifests/base/rbac-people.yaml").read_text()))
    given = {
        (role["metadata"]["name"], r, v)
        for role in shipped
        for rule in role["rules"]
        for r in rule["resources"]
        for v in rule["verbs"]
    }
    read, write = ("get", "list", "watch"), ("create", "update", "patch", "delete")
    assert given == {
        *(("agui-view", resource, verb) for resource in ("aguideployments", "aguienvironments") for verb in read),
        *(("agui-edit", "aguideployments", verb) for verb in write),
        *(("agui-admin", "aguienvironments", verb) for verb in write),
    }


def test_what_is_written_by_a_person_is_not_the_status(stage: Stage) -> None:
    """A status in the body of an ordinary write is dropped by the API server."""
    editor = stage.people["edit"]
    path = f"{AGUI}/namespaces/{stage.namespace}/aguideployments/{NAME}"
    found = editor.call("PATCH", path, {**STATUS, **ANNOTATED}, MERGE)
    assert found["metadata"]["annotations"]["agui.dev/promote"] == "true"
    assert (found.get("status") or {}).get("phase") != "Healthy"
