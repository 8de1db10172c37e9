"""Objects of the system tests: policy, environment, releases of the tiny application, and bundles for its page."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

import yaml

from agui_dev.paths import ROOT

Json = dict[str, Any]
REPOSITORY = "us-central1-docker.pkg.dev/demo/agui/shop"
NAME = "shop"
ENVIRONMENT = "local"
URL_MAP = "shared"
API_VERSION = "agui.dev/v1alpha1"
SECRET, SECRET_VALUE = "shop-secret", "canary-7f3a91c2-never-to-be-seen"
ARTIFACTS = "demo-artifacts"

HTTP_CHECK: Json = {"name": "version", "http": {"path": "/version", "jsonPath": "$.schema.required", "equals": "0001"}}
AGENT_CHECK: Json = {
    "name": "agent",
    "agent": {"say": "where is order 42", "expect": [{"text": "on its way"}, {"finished": True}]},
    "attempts": 1,
}
AT_ONCE: Json = {"progressDeadline": "60s"}  # a strategy without steps
CANARY: Json = {"steps": [{"setWeight": 50}]}
ANALYSED: Json = {
    "steps": [{"setWeight": 50}, {"analysis": {}}],
    "analysis": {
        "minSamples": 10,
        "interval": "300ms",
        "deadline": "60s",
        "metrics": [{"name": "error-rate", "max": 0.05}],
    },
}
HELD: Json = {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]}

_LISTS = ("buckets", "sqlInstances", "databases", "urlMaps", "backends", "domains", "secrets")


def policy(name: str = "tests", namespaces: tuple[str, ...] = ("t-*",), **more: Any) -> Json:
    """Allows the test namespaces everything that the releases here need."""
    spec: Json = {
        "namespaces": list(namespaces),
        "projects": ["demo"],
        "regions": ["us-central1"],
        "serviceAccounts": ["shop-runtime"],
        "imageRepositories": ["us-central1-docker.pkg.dev/demo/agui"],
        **{part: ["*"] for part in _LISTS},
        "limits": {"maxInstances": 10},
        **more,
    }
    return {"apiVersion": API_VERSION, "kind": "AgUiPolicy", "metadata": {"name": name}, "spec": spec}


def environment(printed: str, namespace: str) -> Json:
    """What `localgcp init` printed, under one name in every namespace and
    with the one URL map that the local edge serves and a bucket for its own pages."""
    document: Json = yaml.safe_load(printed)
    document["metadata"] = {"name": ENVIRONMENT, "namespace": namespace}
    document["spec"]["edge"] |= {"urlMap": URL_MAP, "backendBucket": f"{namespace}-pages"}
    document["spec"]["database"]["databases"] = []  # all cases share the one that there is, which would be a conflict
    document["spec"]["storage"]["assets"]["bucket"] = f"{namespace}-assets"
    return document


def release(namespace: str, tag: str, *, name: str = NAME, **parts: Any) -> Json:
    """A lean release: a backend and one check. `parts` are fields of the spec that replace these; a part of None is
    left out; `env` are environment variables of the backend."""
    env = parts.pop("env", {})
    spec: Json = {
        "environmentRef": {"name": ENVIRONMENT},
        "version": tag,
        "backend": {
            "image": f"{REPOSITORY}:{tag}",
            "serviceAccount": "shop-runtime",
            "env": [{"name": key, "value": value} for key, value in env.items()],
            "scaling": {"minInstances": 0, "maxInstances": 2},
            "sessionAffinity": False,
        },
        "smoke": [copy.deepcopy(HTTP_CHECK), copy.deepcopy(AGENT_CHECK)],
        "strategy": {"canary": copy.deepcopy(CANARY), "progressDeadline": "60s"},
    }
    spec |= copy.deepcopy(parts)
    spec = {key: value for key, value in spec.items() if value is not None}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "AgUiDeployment", "metadata": meta, "spec": spec}


def full_release(namespace: str, tag: str, page: str = "v1", **parts: Any) -> Json:
    """A release with all of its parts: backend, secret, migration with backup, page, analysis, alerts."""
    document = release(
        namespace,
        tag,
        migrations={"target": "head", "backup": "Always"},
        frontend={"bundle": {"object": f"bundles/{page}.tar.gz", "sha256": bundle(page)[1]}},
        strategy={"canary": copy.deepcopy(ANALYSED), "progressDeadline": "60s"},
        alerts={"errorRate": 0.05, "latencyP95Ms": 2000, "channels": ["oncall"]},
    )
    document["spec"] |= copy.deepcopy(parts)
    document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
    document["spec"]["backend"]["secrets"] = [{"env": "SHOP_SECRET", "secret": SECRET}]
    return document


@cache
def bundle(page: str) -> tuple[bytes, str]:
    """The bytes and the sha256 of a page's bundle; pages v1 to v5 differ."""
    maker = _maker()
    version = next(v for v in maker.VERSIONS if v.name == page)
    data: bytes = maker.archive(maker.files_of(version))
    return data, hashlib.sha256(data).hexdigest()


@cache
def _maker() -> ModuleType:
    path = ROOT / "demo" / "images" / "make_bundle.py"
    spec = importlib.util.spec_from_file_location("make_bundle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_bundle"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
