"""What a deployment left behind in the cloud and in its status, masked where two equal runs differ."""

from __future__ import annotations

import json
import re
from typing import Any

from agui_dev.testbed.api_proxy import Write
from agui_dev.testbed.belongings import Belongings
from agui_dev.testbed.releases import NAME
from agui_dev.testbed.system import System, service_of

Json = dict[str, Any]
_VERIFIED = ("Progressing", "Paused", "Promoting", "Baking", "Healthy")


def end_state(system: System, namespace: str) -> Json:
    """The whole of it, comparable between runs."""
    found = system.api.get(namespace, NAME)
    owner, status = system.owner(namespace), found["status"]
    have = Belongings.of(system.gcp, namespace, owner)
    service = have.service or {}
    template = service.get("template", {})
    state = {
        "phase": status["phase"],
        "stable": (status.get("stable") or {}).get("id"),
        "rejected": {k: v for k, v in (status.get("rejected") or {}).items() if k in ("release", "reason")},
        "history": [[e["release"]["id"], e["outcome"], e["reason"]] for e in status.get("history") or []],
        "conditions": [[c["type"], c["status"], c["reason"]] for c in status["conditions"]],
        "template": [
            template.get("revision"),
            template.get("containers", [{}])[0].get("image"),
            template.get("labels"),
        ],
        "traffic": sorted(json.dumps(t, sort_keys=True) for t in service.get("traffic", [])),
        "revisions": sorted(have.revisions),
        "jobs": have.jobs,
        "matcher": have.matcher,
        "alerts": sorted(_alert(policy) for policy in have.alerts),
        "backups": have.backups,
    }
    text = json.dumps(state, sort_keys=True).replace(owner, "OWNER").replace(service_of(namespace), "SERVICE")
    text = text.replace(namespace, "NAMESPACE")
    for number, release in enumerate(_release_ids(status), start=1):
        text = text.replace(release, f"RELEASE{number}")  # the owner is part of an id
    masked: Json = json.loads(text)
    for listed in ("traffic", "revisions", "alerts"):
        masked[listed].sort()
    return masked


def _release_ids(status: Json) -> list[str]:
    """Ids without the number of an attempt, the oldest first."""
    entries = reversed(status.get("history") or [])
    releases = [*(e["release"] for e in entries), status.get("stable"), status.get("release")]
    return list(dict.fromkeys(r["id"].partition("-")[0] for r in releases if r))


def faults_of(system: System, namespace: str, effects: list[Json], writes: list[Write]) -> list[str]:
    """Broken promises, as sentences: something done twice, something left over, traffic that does not add up or that
    met a release before its checks had passed. `effects` and `writes` are those since the release was applied."""
    found = system.api.get(namespace, NAME)
    return [
        *_done_twice(namespace, found, effects, Belongings.of(system.gcp, namespace, system.owner(namespace))),
        *_left_over(found, Belongings.of(system.gcp, namespace, system.owner(namespace))),
        *_bad_traffic(namespace, found, effects, writes),
    ]


def _done_twice(namespace: str, found: Json, effects: list[Json], have: Belongings) -> list[str]:
    faults = [f"job {job} was executed {count} times" for job, count in have.jobs.items() if count > 1]
    faults += [f"{len(have.backups)} backups: {have.backups}"] if len(set(have.backups)) < len(have.backups) else []
    names = [policy["displayName"] for policy in have.alerts]
    faults += [f"alert policies twice: {names}"] if len(set(names)) < len(names) else []
    once = [
        (e["effect"], e["resource"])
        for e in effects
        if (e["effect"] == "create" and namespace in e["resource"])
        or (e["effect"] == "write" and e["resource"].startswith(f"b/{namespace}-assets/"))
    ]
    faults += [f"{effect} of {what} happened {once.count((effect, what))} times" for effect, what in sorted(set(once))
               if once.count((effect, what)) > 1]  # fmt: skip
    return faults


def _left_over(found: Json, have: Belongings) -> list[str]:
    """What carries the owner's label must be of a release that the status still names."""
    status = found["status"]
    known = {e["release"]["id"] for e in status.get("history") or []}
    known |= {r["id"] for r in (status.get("stable"), status.get("release")) if r}
    names = [*have.jobs, *(d for d in have.backups)]
    faults = [
        f"{name} belongs to no known release {sorted(known)}"
        for name in names
        if "-c-" not in name and not any(name.endswith(release) for release in known)
    ]
    faults += [f"revision {name} belongs to no known release" for name in have.revisions
               if not any(name.endswith(f"-{release}") for release in known)]  # fmt: skip
    return faults


def _bad_traffic(namespace: str, found: Json, effects: list[Json], writes: list[Write]) -> list[str]:
    faults = []
    stable = _stables(found)
    for effect in effects:
        if effect["effect"] != "route" or f"/services/{namespace}-" not in effect["resource"]:
            continue
        shares = {name: int(share) for name, share in re.findall(r"(\S+)=(\d+)", effect["detail"])}
        if sum(shares.values()) != 100:
            faults.append(f"traffic summed to {sum(shares.values())}: {effect['detail']}")
        verified = any(w.phase in _VERIFIED and w.at <= effect["ts"] + 0.001 for w in writes)
        news = [n for n, share in shares.items() if share and not any(n.endswith(f"-{s}") for s in stable)]
        if stable and news and not verified:  # a first release is hidden by the release pointer, not by its share
            faults.append(f"{news} met users before their checks had passed: {effect['detail']}")
    return faults


def _stables(found: Json) -> set[str]:
    """Releases that had been promoted before the newest rollout."""
    history = found["status"].get("history") or []
    return {e["release"]["id"] for e in history[1:] if e["outcome"] == "Promoted"}


def _alert(policy: Json) -> str:
    """An alert policy without what the API adds to it."""
    kept = {
        k: v for k, v in policy.items() if k in ("displayName", "conditions", "combiner", "enabled", "documentation")
    }
    return re.sub(r"alertPolicies/\d+(/conditions/\d+)?", "ID", json.dumps(kept, sort_keys=True))
