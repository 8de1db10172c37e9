"""10^5 broken specs: each ends as a model or as SpecInvalid with sentences, never otherwise, and in little time.

Mutations start from valid specs, because random JSON dies at the first field. The seed is fixed; AGUI_FUZZ_SEED changes
it and AGUI_FUZZ_SPECS the number.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_environment, parse_policy

SPECS = int(os.environ.get("AGUI_FUZZ_SPECS", "100000"))
SEED = int(os.environ.get("AGUI_FUZZ_SEED", "20261123"))
SECONDS = 300  # of CPU, for all; measured about 60
SLOWEST = 2.0  # seconds for one spec, on a loaded machine
SHA = "ab" * 32

DEPLOYMENT: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "version": "1.4.2",
    "backend": {
        "image": f"us-docker.pkg.dev/acme/agui/app@sha256:{SHA}",
        "serviceAccount": "concierge",
        "env": [{"name": "LOG_LEVEL", "value": "info"}],
        "secrets": [{"env": "DB_PASSWORD", "secret": "concierge-db", "version": "latest"}],
        "resources": {"cpu": "1", "memory": "1Gi"},
        "scaling": {"minInstances": 1, "maxInstances": 10},
        "probes": {"startup": {"path": "/readyz"}},
        "ingress": "All",
    },
    "migrations": {"target": "head", "seeds": True, "verify": ["schema"], "backup": "Always"},
    "frontend": {"bundle": {"object": "bundles/a.tar.gz", "sha256": SHA}, "skewWindow": "24h"},
    "smoke": [
        {"name": "ready", "http": {"path": "/readyz", "jsonPath": "$.a[0]", "equals": {"b": 1}}, "at": ["promoted"]},
        {"name": "socket", "websocket": {"path": "/ws", "firstFrame": {"type": "ready"}}},
        {"name": "talk", "agent": {"say": ["a", "b"], "expect": [{"resume": {"ok": True}}, {"finished": True}]}},
        {"name": "assets", "assets": {"integrity": "sha384"}},
        {"name": "records", "sql": {"check": "records"}},
        {"name": "e2e", "job": {"image": "h.io/a/b:1", "timeout": "10m"}},
    ],
    "strategy": {
        "canary": {
            "steps": [{"setWeight": 10}, {"analysis": {}}, {"pause": {"duration": "5m"}}, {"setWeight": 50}],
            "analysis": {"metrics": [{"name": "error-rate", "max": 0.02}], "interval": "30s", "inconclusive": "Hold"},
        },
        "progressDeadline": "30m",
    },
    "rollback": {"automatic": True, "window": "24h"},
    "alerts": {"latencyP95Ms": 2000, "errorRate": 0.01, "channels": ["oncall"]},
    "deletionPolicy": {"backend": "Delete"},
}
ENVIRONMENT: dict[str, Any] = {
    "projectId": "acme",
    "region": "us-central1",
    "tier": "prod",
    "database": {"instance": "main", "databases": ["app"], "users": [{"name": "app", "secret": "s"}]},
    "storage": {"assets": {"bucket": "aaa"}, "artifacts": {"bucket": "bbb"}},
    "edge": {"domain": "a.b", "urlMap": "m", "backendBucket": "b", "backendService": "s", "apiPaths": ["/api"]},
    "identities": [{"name": "concierge"}],
    "observability": {"channels": [{"name": "oncall", "resource": "projects/acme/notificationChannels/1"}]},
    "management": {"edge": "Observed"},
}
POLICY: dict[str, Any] = {
    "namespaces": ["team-*"],
    "projects": ["acme"],
    "regions": ["*"],
    "serviceAccounts": ["concierge"],
    "imageRepositories": ["h.io/a"],
    "limits": {"maxCpu": 2, "maxInstances": 10},
    "freezes": [{"name": "x", "from": "2026-12-20T00:00:00Z", "until": "2027-01-02T00:00:00+01:00"}],
    "stop": {"active": False, "reason": "r"},
}
KINDS: list[tuple[Callable[[Any], Any], dict[str, Any]]] = [
    (parse_deployment, DEPLOYMENT),
    (parse_environment, ENVIRONMENT),
    (parse_policy, POLICY),
]
DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    101,
    2**31,
    2**63,
    -(2**70),
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "latest",
    "30s",
    "999999999d",
    "9" * 24 + "h",
    "١٢s",
    "/",
    "//host",
    "/a b",
    "/%zz",
    "http://169.254.169.254/",
    "../../x",
    "a\x00b",
    "\ud800",
    "\u202e",
    "😀" * 40,
    "a" * 300,
    "a" * 70000,
    "(a+)+$",
    "${jndi:x}",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    [],
    {},
    [None],
    {"": None},
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}},
    {1: 2},
    {None: 1},
    [[]] * 500,
    {"x": "y"},
    b"bytes",
    object(),
    (1, 2),
    {1, 2},
    DEEP,
]
KEYS = [
    "",
    "name",
    "image",
    "steps",
    "setWeight",
    "spec",
    "__class__",
    "a b",
    "\ud800",
    "x" * 300,
    "on",
    "$ref",
    7,
    None,
]


def containers(node: Any) -> list[Any]:
    """The node and everything below it that holds something; only the first of what odd values hold."""
    found, queue = [], [node]
    while queue and len(found) < 200:
        here = queue.pop()
        if isinstance(here, (dict, list)):
            found.append(here)
            queue += list(here.values()) if isinstance(here, dict) else here[:20]
    return found


def mutate(spec: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        places = containers(spec)
        if not places:
            return rng.choice(ODD)
        _change(rng.choice(places), rng)
    return spec


def _change(place: Any, rng: random.Random) -> None:
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    action = rng.randrange(6)
    if action == 0 or not keys:
        _add(place, rng)
    elif action == 1:
        del place[rng.choice(keys)]
    elif action == 2 and isinstance(place, dict):
        place[rng.choice(KEYS)] = place.pop(rng.choice(keys))
    elif action == 3:
        key, other = rng.choice(keys), rng.choice(keys)
        place[key], place[other] = place[other], place[key]
    elif action == 4:
        key = rng.choice(keys)
        place[key] = _bent(place[key], rng)
    else:
        place[rng.choice(keys)] = copy.copy(rng.choice(ODD))


def _add(place: Any, rng: random.Random) -> None:
    if isinstance(place, dict):
        place[rng.choice(KEYS)] = copy.copy(rng.choice(ODD))
    elif place and len(place) < 100:
        place += [copy.deepcopy(place[0]) for _ in range(rng.choice((1, 2, 40)))]
    else:
        place.append(copy.copy(rng.choice(ODD)))


def _bent(value: Any, rng: random.Random) -> Any:
    """Something near the value: that is what slips through checks."""
    if isinstance(value, bool):
        return rng.choice((int(value), str(value).lower(), not value))
    if isinstance(value, (int, float)):
        return rng.choice((-value, value + 1, value * 1000, str(value), float(value) if abs(value) < 1e300 else 0))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return rng.choice((value[:at], value + rng.choice("\n /;é"), value.upper(), value * 9, value[:at] + "\0"))
    return rng.choice(([value], {"value": value}, None))


def _expect_sentences(refusal: SpecInvalid) -> None:
    message = str(refusal)
    assert refusal.errors
    assert "\n" not in message, message
    assert len(message) < 4096
    assert all(e.path.startswith("spec") and e.message and e.fix for e in refusal.errors)


@pytest.mark.no_cover  # a measured run takes three times as long and shows nothing that unit tests do not
@pytest.mark.timeout(3600)
def test_no_spec_raises_anything_else() -> None:
    rng = random.Random(SEED)
    originals = [(parse, json.dumps(base)) for parse, base in KINDS]
    accepted = refused = 0
    slowest = 0.0
    began = time.process_time()
    for number in range(SPECS):
        parse, text = originals[rng.choice((0, 0, 0, 1, 2))]
        spec = mutate(json.loads(text), rng)
        at = time.process_time()
        try:
            model = parse(spec)
        except SpecInvalid as exc:
            refused += 1
            _expect_sentences(exc)
        except BaseException as exc:
            raise AssertionError(f"spec {number} of seed {SEED} raised {type(exc).__name__}: {spec!r:.2000}") from exc
        else:
            accepted += 1
            assert len(model.model_dump_json(by_alias=True)) < 200_000
        slowest = max(slowest, time.process_time() - at)
        if number % 1000 == 0:
            assert time.process_time() - began < SECONDS, f"only {number} specs in {SECONDS} s of CPU"
    assert slowest < SLOWEST
    assert accepted > SPECS / 100, "nearly nothing is accepted: the mutator is too wild to prove anything"
    assert refused > SPECS / 4, "nearly nothing is refused: the mutator is too tame to prove anything"


@pytest.mark.parametrize(("parse", "base"), KINDS)
def test_the_originals_are_valid(parse: Callable[[Any], Any], base: dict[str, Any]) -> None:
    parse(base)
