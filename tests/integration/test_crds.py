"""The CRDs on a real API server: it takes them, fills in defaults and refuses with the words that we chose."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.controlplane import ControlPlane, KubectlFailed
from agui_operator.api.crd import KINDS, render_crds
from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_environment, parse_policy

pytestmark = pytest.mark.integration
SHA = "ab" * 32
DEPLOYMENT: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "backend": {"image": "us-docker.pkg.dev/acme/agui/app:v1", "serviceAccount": "concierge"},
}
POLICY = {
    "namespaces": ["*"],
    "projects": ["*"],
    "regions": ["*"],
    "serviceAccounts": ["*"],
    "imageRepositories": ["*"],
}
ENVIRONMENT = {"projectId": "demo", "region": "us-central1"}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with our CRDs, as `kubectl apply -f crds/` installs them."""
    for text in render_crds().values():
        control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
    names = [f"crd/{kind.plural}.agui.dev" for kind in KINDS]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=180s", *names)
    return control_plane  # type: ignore[return-value]


def apply(plane: ControlPlane, kind: str, spec: Any, namespace: str, *flags: str, name: str = "x") -> dict[str, Any]:
    manifest = {
        "apiVersion": "agui.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    if kind == "AgUiPolicy":
        del manifest["metadata"]["namespace"]
    out = plane.kubectl("apply", "--server-side", "-o", "json", "-f", "-", *flags, input=json.dumps(manifest))
    return dict(json.loads(out))


def merged(base: Any, extra: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(extra, dict)):
        return copy.deepcopy(extra)
    return {**base, **{key: merged(base.get(key), value) for key, value in extra.items()}}


def test_files_are_small() -> None:
    for name, text in render_crds().items():
        assert len(text.encode()) < 60_000, name


def test_schemas_are_structural(plane: ControlPlane) -> None:
    for kind in KINDS:
        found = json.loads(plane.kubectl("get", "crd", f"{kind.plural}.agui.dev", "-o", "json"))
        conditions = {c["type"]: c for c in found["status"]["conditions"]}
        assert "NonStructuralSchema" not in conditions
        assert conditions["NamesAccepted"]["status"] == "True"


@pytest.mark.parametrize(
    ("kind", "minimal", "parse"),
    [
        ("AgUiDeployment", DEPLOYMENT, parse_deployment),
        ("AgUiEnvironment", ENVIRONMENT, parse_environment),
        ("AgUiPolicy", POLICY, parse_policy),
    ],
)
def test_the_api_server_fills_in_the_defaults_of_the_models(
    plane: ControlPlane, namespace: str, kind: str, minimal: Any, parse: Any
) -> None:
    stored = apply(plane, kind, minimal, namespace, "--dry-run=server")["spec"]
    assert stored == parse(minimal).model_dump(mode="json", by_alias=True, exclude_none=True)


FULL = {
    "version": "1.4.2",
    "backend": {
        "command": ["python"],
        "env": [{"name": "LOG_LEVEL", "value": "info"}],
        "secrets": [{"env": "DB_PASSWORD", "secret": "concierge-db", "version": 3}],
        "resources": {"cpu": 2, "memory": "2Gi"},
        "probes": {"startup": {"path": "/readyz"}, "liveness": {"path": "/healthz", "periodSeconds": 30}},
    },
    "migrations": {"seeds": True, "verify": ["schema"]},
    "frontend": {"bundle": {"object": "bundles/a.tar.gz", "sha256": SHA}},
    "smoke": [
        {"name": "ready", "http": {"path": "/readyz", "jsonPath": "$.ready", "equals": True}},
        {"name": "socket", "websocket": {"path": "/ws/smoke", "firstFrame": {"type": "hello"}}},
        {
            "name": "approval",
            "agent": {
                "say": ["refund order 42 for 80", "thanks"],
                "expect": [{"interrupt": "confirmation"}, {"resume": {"confirmed": True}}, {"finished": True}],
                "firstTokenWithin": "5s",
            },
        },
        {"name": "assets", "assets": {}},
        {"name": "records", "sql": {"check": "session-state"}, "at": ["promoted"]},
        {"name": "e2e", "job": {"image": "us-docker.pkg.dev/acme/agui/e2e:v1"}},
    ],
    "strategy": {
        "canary": {
            "steps": [
                {"setWeight": 10},
                {"analysis": {}},
                {"pause": {"duration": "5m"}},
                {"setWeight": 50},
                {"pause": {}},
            ],
            "analysis": {"metrics": [{"name": "error-rate", "max": 0.02}]},
        }
    },
    "alerts": {"latencyP95Ms": 2000, "availabilityObjective": 0.999, "channels": ["oncall"]},
}


def test_a_full_deployment_is_stored_as_it_was_written(plane: ControlPlane, namespace: str) -> None:
    spec = merged(DEPLOYMENT, FULL)
    stored = apply(plane, "AgUiDeployment", spec, namespace)["spec"]
    assert parse_deployment(stored) == parse_deployment(spec)


def two(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"canary": {"steps": list(steps), **more}}}


REFUSED: list[Any] = [
    pytest.param(two({"setWeight": 10}, {"setWeight": 170}), "less than or equal to 100", id="weight-above-100"),
    pytest.param(two({"setWeight": 50}, {"setWeight": 10}), "must have increasing setWeight values", id="weights-fall"),
    pytest.param(two({"setWeight": 5}, {"setWeight": 5}), "must have increasing setWeight values", id="weights-repeat"),
    pytest.param(two({"setWeight": 5, "pause": {}}), "must have exactly one of setWeight", id="two-keys"),
    pytest.param(two({"setWeight": 5}, {}), "must have exactly one of setWeight", id="no-key"),
    pytest.param(two({"pause": {}}, {"setWeight": 5}), "must begin with setWeight", id="begins-with-a-pause"),
    pytest.param(two({"setWeight": 5}, {"analysis": {}}), "must be set, because a step asks", id="no-analysis"),
    pytest.param(
        two({"setWeight": 5}, analysis={"metrics": [{"name": "error-rate"}]}),
        "at least one of max",
        id="metric-without-limit",
    ),
    pytest.param({"smoke": [{"name": "a"}]}, "must have exactly one of http", id="check-without-kind"),
    pytest.param(
        {"smoke": [{"name": "a", "sql": {"check": "x"}}]}, "because spec.migrations is absent", id="sql-no-migrations"
    ),
    pytest.param({"smoke": [{"name": "a", "assets": {}}]}, "because spec.frontend is absent", id="assets-no-frontend"),
    pytest.param({"smoke": [{"name": "a", "http": {"path": "http://evil/"}}]}, "should match", id="url-as-path"),
    pytest.param(
        {"smoke": [{"name": "a", "http": {"path": "/", "body": {"a": 1}}}]}, "unless method is POST", id="body-of-get"
    ),
    pytest.param(
        {"smoke": [{"name": "a", "agent": {"say": "x", "expect": [{"resume": {"a": 1}, "tool": "x"}]}}]},
        "must have exactly one of text",
        id="two-expectations",
    ),
    pytest.param({"smoke": [{"name": "a", "sql": {"check": "x"}}] * 2, "migrations": {}}, "uplicate", id="check-twice"),
    pytest.param({"backend": {"env": [{"name": "PORT"}]}}, "which the platform sets", id="reserved-variable"),
    pytest.param(
        {"backend": {"env": [{"name": "A"}], "secrets": [{"env": "A", "secret": "a"}]}},
        "must not name a variable that env sets too",
        id="variable-and-secret",
    ),
    pytest.param(
        {"backend": {"env": [{"name": f"V{i}", "value": "x" * 2048} for i in range(17)]}},
        "must have values of at most 32768 characters",
        id="too-much-environment",
    ),
    pytest.param(
        {"backend": {"scaling": {"minInstances": 5, "maxInstances": 2}}}, "must not be above maxInstances", id="scaling"
    ),
    pytest.param({"backend": {"port": "8080"}}, "expected numeric", id="text-for-a-number"),
    pytest.param({"backend": {"color": "red"}}, "unknown field|field not declared", id="unknown-field"),
    pytest.param({"deletionPolicy": {"database": "Delete"}}, "supported values", id="delete-the-database"),
    pytest.param({"migrations": {"rehearse": "Clone"}}, "is not supported yet; set Never", id="not-yet"),
    pytest.param({"rollback": {"window": "1 day"}}, "should match", id="duration"),
    pytest.param(
        {"frontend": {"bundle": {"object": "a/../b", "sha256": SHA}}}, "must not contain `..`", id="object-outside"
    ),
]


@pytest.mark.parametrize(("extra", "words"), REFUSED)
def test_what_the_models_refuse_the_api_server_refuses(
    plane: ControlPlane, namespace: str, extra: dict[str, Any], words: str
) -> None:
    spec = merged(DEPLOYMENT, extra)
    with pytest.raises(SpecInvalid):
        parse_deployment(spec)
    with pytest.raises(KubectlFailed, match=words):
        apply(plane, "AgUiDeployment", spec, namespace, "--dry-run=server")


def test_the_api_server_names_the_field(plane: ControlPlane, namespace: str) -> None:
    spec = merged(DEPLOYMENT, two({"setWeight": 50}, {"setWeight": 10}))
    with pytest.raises(KubectlFailed, match=r"spec\.strategy\.canary\.steps: .*order the steps from the smallest"):
        apply(plane, "AgUiDeployment", spec, namespace, "--dry-run=server")


def test_managed_parts_and_backward_windows_are_refused(plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(KubectlFailed, match=r"spec\.management\.edge: .*Managed is not supported yet"):
        apply(plane, "AgUiEnvironment", ENVIRONMENT | {"management": {"edge": "Managed"}}, namespace)
    window = {"name": "x", "from": "2026-12-20T00:00:00Z", "until": "2026-12-19T00:00:00Z"}
    with pytest.raises(KubectlFailed, match=r"must be later than from; swap the two"):
        apply(plane, "AgUiPolicy", POLICY | {"freezes": [window]}, namespace)


UNREADABLE = (
    *("9999-12-31T23:59:59Z", "2027-01-01 00:00:00Z", "2027-01-01T00:00:00", "2027-02-30T00:00:00Z", "2027-01-01"),
    *("2027-01-01T00:00:60Z", "2027-01-01T24:00:00Z", "2027-01-01T00:00:00+0100", "2027-01-01t00:00:00z"),
)
READABLE = ("9998-12-31T23:59:59Z", "2027-01-01T00:00:00.123456+01:00", "2028-02-29T23:59:59-12:00")


@pytest.mark.parametrize("until", UNREADABLE)
def test_a_time_that_the_operator_can_not_read_is_refused_by_the_api_server(
    plane: ControlPlane, namespace: str, until: str
) -> None:
    """A policy that only one of the two takes would vanish with its stop button."""
    policy = POLICY | {"freezes": [{"name": "x", "from": "2026-01-01T00:00:00Z", "until": until}]}
    with pytest.raises(SpecInvalid):
        parse_policy(policy)
    with pytest.raises(KubectlFailed):
        apply(plane, "AgUiPolicy", policy, namespace, "--dry-run=server")


@pytest.mark.parametrize("until", READABLE)
def test_a_time_that_the_api_server_takes_is_read(plane: ControlPlane, namespace: str, until: str) -> None:
    policy = POLICY | {"freezes": [{"name": "x", "from": "2026-01-01T00:00:00Z", "until": until}]}
    parse_policy(policy)
    apply(plane, "AgUiPolicy", policy, namespace, "--dry-run=server")


def test_nobody_takes_a_fresh_object_for_a_finished_one(plane: ControlPlane, namespace: str) -> None:
    fresh = apply(plane, "AgUiDeployment", DEPLOYMENT, namespace, name="fresh")
    assert fresh["status"] == {"observedGeneration": -1}
    for condition in ("Ready", "Promoted"):
        with pytest.raises(KubectlFailed, match="timed out"):
            plane.kubectl("wait", f"--for=condition={condition}", "--timeout=1s", "agd/fresh", "-n", namespace)


STATUS = {
    "observedGeneration": 1,
    "phase": "Progressing",
    "url": "https://app.acme.example",
    "message": "x",
    "release": {
        "id": "b2",
        "version": "1.4.2",
        "backend": "x@sha256:1",
        "alerts": {"latency_p95_ms": 5, "channels": ["a"]},
    },
    "stable": {"id": "a1", "version": "1.4.1", "backend": "x@sha256:0", "schema": "0002"},
    "rollout": {"phase": "Progressing", "progress": "1/4", "weight": 10, "verdicts": {"ready": {"passed": True}}},
    "waitingFor": {"what": "a verdict", "unblockWith": "nothing"},
    "conditions": [{"type": "Ready", "status": "False", "reason": "Progressing", "message": "m"}],
}


def test_columns_tell_the_story(plane: ControlPlane, namespace: str) -> None:
    apply(plane, "AgUiDeployment", DEPLOYMENT, namespace, name="told")
    patch = json.dumps({"status": STATUS})
    plane.kubectl("patch", "agd/told", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    stored = json.loads(plane.kubectl("get", "agd/told", "-n", namespace, "-o", "json"))
    assert stored["status"] == STATUS, "a field of the status was pruned"
    header, row = plane.kubectl("get", "agd", "told", "-n", namespace).splitlines()
    columns = ["NAME", "PHASE", "STEP", "WEIGHT", "RELEASE", "STABLE", "SCHEMA", "READY", "REASON", "AGE"]
    assert header.split() == columns
    assert row.split()[:-1] == ["told", "Progressing", "1/4", "10", "1.4.2", "1.4.1", "0002", "False", "Progressing"]
    wide = plane.kubectl("get", "agui", "-n", namespace, "-o", "wide")
    for word in ("REASON", "URL", "WAITING-FOR", "https://app.acme.example", "a verdict"):
        assert word in wide


def test_environment_columns(plane: ControlPlane, namespace: str) -> None:
    apply(plane, "AgUiEnvironment", ENVIRONMENT | {"database": {"instance": "main"}}, namespace)
    header, row = plane.kubectl("get", "agenv", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "PROJECT", "REGION", "DATABASE", "EDGE", "READY", "AGE"]
    assert row.split()[:4] == ["x", "demo", "us-central1", "main"]


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """What was applied and is not stored: a sync tool would see it as a difference for ever."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [m for key, value in wanted.items() for m in missing(value, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [m for n, (a, b) in enumerate(zip(wanted, found, strict=True)) for m in missing(a, b, f"{path}[{n}]")]
    return [] if wanted == found else [f"{path}: {wanted!r} became {found!r}"]


def test_the_crds_are_stored_as_they_were_applied(plane: ControlPlane) -> None:
    for text in render_crds().values():
        document = yaml.safe_load(text)
        found = json.loads(plane.kubectl("get", "crd", document["metadata"]["name"], "-o", "json"))
        assert missing(document, found) == []


def test_the_install_line_works_in_every_order(plane: ControlPlane) -> None:
    """After a client-side apply, and with fields that another manager has taken over."""
    crds = str(Path(__file__).resolve().parents[2] / "crds")
    documented = ("apply", "--server-side", "--force-conflicts", "-f", crds)
    plane.kubectl("apply", "-f", crds)
    plane.kubectl(*documented)
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", crds)
    plane.kubectl(*documented)
    plane.kubectl("apply", "-f", crds)
    plane.kubectl(*documented)


def test_the_committed_files_are_what_is_tested_here() -> None:
    root = Path(__file__).resolve().parents[2] / "crds"
    for name, text in render_crds().items():
        assert (root / name).read_text() == text, f"crds/{name} is stale: run `agui-operator crd`"
        assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"


BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"


@pytest.fixture(scope="module")
def installed(plane: ControlPlane) -> ControlPlane:
    """manifests/base, without what only a kubelet or a network plug-in could act on."""
    for name in ("namespace", "service-account", "rbac", "rbac-people"):
        plane.kubectl("apply", "-f", str(BASE / f"{name}.yaml"))
    return plane


@pytest.mark.parametrize("overlay", ["local", "dev", "staging", "prod"])
def test_every_overlay_is_taken_by_the_api_server(installed: ControlPlane, overlay: str) -> None:
    out = installed.kubectl("apply", "--dry-run=server", "-k", str(BASE.parent / "overlays" / overlay))
    assert "deployment.apps/agui-operator" in out


def test_pod_security_admits_the_pod_and_would_refuse_a_softer_one(installed: ControlPlane) -> None:
    template = yaml.safe_load((BASE / "deployment.yaml").read_text())["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    pod["metadata"] = {"name": "probe", "namespace": "agui-system"}

    def create() -> str:
        return installed.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))

    assert "created" in create()
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(KubectlFailed, match="violates PodSecurity"):
        create()


@pytest.mark.parametrize(
    ("right", "allowed"),
    [
        ("patch agui.dev/aguideployments", True),
        ("patch agui.dev/aguideployments/status", True),
        ("create /events", True),
        ("update coordination.k8s.io/leases agui-operator agui-system", True),
        ("update coordination.k8s.io/leases other agui-system", False),
        ("update coordination.k8s.io/leases agui-operator default", False),
        ("update agui.dev/aguideployments", False),
        ("delete agui.dev/aguideployments", False),
        ("patch agui.dev/aguipolicies", False),
        ("patch agui.dev/aguienvironments", True),
        ("update agui.dev/aguienvironments", False),
        ("get /namespaces kube-system kube-system", True),
        ("get /namespaces default default", False),
        ("get /secrets", False),
        ("list /namespaces", False),
        ("create /pods", False),
        ("patch apiextensions.k8s.io/customresourcedefinitions", False),
        ("impersonate /users", False),
    ],
)
def test_rights_of_the_operator(installed: ControlPlane, right: str, allowed: bool) -> None:
    verb, what, *where = right.split()
    group, resource, *subresource = what.split("/")
    name, namespace = where or ("", "")
    asked = {"verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "system:serviceaccount:agui-system:agui-operator",
            "resourceAttributes": asked | ({"subresource": subresource[0]} if subresource else {}),
        },
    }
    answer = json.loads(installed.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(review)))
    assert answer["status"]["allowed"] is allowed
