"""A policy that the API server takes and the operator can't read holds whole namespaces; the other way round it is
never stored. Each payload is judged by both, and both say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agui_dev.controlplane import ControlPlane
from agui_dev.testbed.kube_api import ApiRefused, KubeApi
from agui_operator.api.parse import SpecInvalid, parse_policy
from engine_fakes import sample

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
POLICY = sample("policy.yaml")
NAMES = [
    "a",
    "a-*",
    "*",
    "",
    "-a",
    "a*b",
    "**",
    "A",
    "a b",
    "a\n",
    "é",
    "a.b",
    "a" * 63,
    "a" * 64,
    None,
    1,
    True,
    ["a"],
]
LISTS: dict[str, list[Any]] = {
    "namespaces": NAMES,
    "projects": NAMES,
    "regions": NAMES,
    "channels": NAMES,
    "sqlInstances": NAMES,
    "urlMaps": NAMES,
    "backends": NAMES,
    "adopt": NAMES,
    "serviceAccounts": [*NAMES, "a@b.iam.gserviceaccount.com", "a@b*", "a@", "@b", "a@b@c", "a" * 121],
    "imageRepositories": [
        *NAMES,
        "h/a",
        "h/a/",
        "h:8443/a",
        "h:99999/a",
        "h//a",
        "h/a*",
        "h/../a",
        "h/A",
        "h/" + "a" * 300,
    ],
    "buckets": [*NAMES, "a.b_c", "a.b*", "_a", ".a", "gs://a", "a/b"],
    "databases": [
        *NAMES,
        "main/app",
        "main/*",
        "main/a*",
        "main*",
        "*/a",
        "main/",
        "main/a/b",
        "main/-a",
        "1/a",
        "main/a\n",
    ],
    "domains": [*NAMES, "a.b", "*.a.b", "*.a.*", "a..b", ".a", "a.", "*.", "http://a", "a:80", "a" * 254],
    "secrets": [*NAMES, "A_b-1", "a/b", "projects/p/secrets/a", "a" * 129],
    "ingress": ["All", "Internal", "InternalAndCloudLoadBalancing", "all", "", "*", None, 1],
    "freezes": [
        {"name": "a", "from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        {"name": "a", "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"name": "a", "from": "2026-01-01", "until": "2026-01-02T00:00:00Z"},
        {"name": "a", "from": "2026-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"},
        {"name": "A", "from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        {},
    ],
}
WHOLE: dict[str, list[Any]] = {
    **{part: [None, [], {}, "a", 1, ["a"] * 2] for part in LISTS},
    "limits": [{"maxInstances": n} for n in (0, 1, 1000, 1001, -1, 1.5, "1", None, True)]
    + [{"maxCpu": n} for n in (0, 0.1, 8, 8.1, "1", None)]
    + [{"maxMemoryMi": n} for n in (127, 128, 32768, 32769)]
    + [None, [], "a"],
    "stop": [{"active": v} for v in (True, False, "true", 1, None)]
    + [{"active": True, "reason": "a" * n} for n in (256, 257)],
}


def payloads() -> Iterator[Any]:
    for part, values in LISTS.items():
        for value in values:
            yield pytest.param({part: [value]}, id=f"{part}: {value!r}"[:60])
    for part, values in WHOLE.items():
        for value in values:
            yield pytest.param({part: value}, id=f"{part} as a whole: {value!r}"[:60])


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[KubeApi]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/aguipolicies.agui.dev", "--timeout=60s")
    api = KubeApi(control_plane.kubeconfig)
    yield api
    api.close()


@pytest.mark.parametrize("change", payloads())
def test_both_judge_a_policy_alike(api: KubeApi, change: dict[str, Any]) -> None:
    """The operator reads what the API server would have stored."""
    document = {"apiVersion": "agui.dev/v1alpha1", "kind": "AgUiPolicy", "metadata": {"name": "judged"}}
    path = f"{api.path('', 'aguipolicies')}?dryRun=All"
    try:
        stored = api.call("POST", path, {**document, "spec": {**POLICY, **change}})["spec"]
    except ApiRefused as refused:
        if refused.code not in (400, 422):
            raise
        with pytest.raises(SpecInvalid):
            parse_policy({**POLICY, **change})
        return
    parse_policy(stored)
