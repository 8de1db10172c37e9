"""Attacks on what administrators allow: everything that a tenant can name, after the rollout as well as on its way.

A permission is asked for what is written, at the moment of writing. Roll-back to the stable release and removal of what
is owned are the only exceptions.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agui_operator.api.conditions import ConditionType, Reason
from agui_operator.api.parse import SpecInvalid, parse_deployment, parse_environment, parse_policy
from agui_operator.core.blockers import blockers, forbidden, place_of
from agui_operator.core.blueprint import build_blueprint
from agui_operator.core.decide import decide
from agui_operator.core.memory import Memory
from agui_operator.core.names import Names
from agui_operator.core.past import Promotion
from agui_operator.core.permitted import Unreadable, from_repository, frozen, is_domain, namespaces_of, refusals
from agui_operator.core.phases.case import Case
from agui_operator.core.release import Release, Resolved, make_release
from agui_operator.core.requests import Refusal, Situation
from agui_operator.core.requests import decide as answer
from agui_operator.core.rollout import Phase
from agui_operator.core.snapshot import Blocker, Request, RequestKind, ServiceView, Snapshot
from agui_operator.core.status import Inputs, summarize
from agui_operator.core.traffic import Target
from agui_operator.core.uses import databases_of, of_environment, of_release, of_spec
from agui_operator.handlers.directory import WatchedDirectory
from world_model import FIRST, NAMES, NOW, SECOND, blueprint

IMAGE = "us-docker.pkg.dev/acme/agui/app@sha256:" + "a" * 64
ENVIRONMENT: dict[str, Any] = {
    "projectId": "acme-prod",
    "region": "us-central1",
    "database": {"instance": "main", "databases": ["shop"], "users": [{"name": "app", "secret": "db"}]},
    "storage": {"assets": {"bucket": "acme-assets"}, "artifacts": {"bucket": "acme-bundles"}},
    "edge": {"domain": "shop.acme.example", "urlMap": "site", "backendBucket": "files", "backendService": "api"},
    "observability": {"channels": [{"name": "oncall", "resource": "projects/acme-prod/notificationChannels/7"}]},
}
SPEC: dict[str, Any] = {
    "environmentRef": {"name": "prod"},
    "backend": {
        "image": IMAGE,
        "serviceAccount": "concierge",
        "secrets": [{"env": "DB_PASSWORD", "secret": "db", "version": "3"}],
    },
    "frontend": {"bundle": {"object": "b.tar.gz", "sha256": "b" * 64}},
    "migrations": {"serviceAccount": "migrator"},
    "smoke": [{"name": "e2e", "job": {"image": IMAGE, "serviceAccount": "checker"}}],
    "alerts": {"errorRate": 0.1, "channels": ["oncall"]},
}
POLICY: dict[str, Any] = {
    "namespaces": ["shop"],
    "projects": ["acme-prod"],
    "regions": ["us-central1"],
    "serviceAccounts": ["concierge", "migrator", "checker"],
    "imageRepositories": ["us-docker.pkg.dev/acme/agui"],
    "channels": ["oncall"],
    "buckets": ["acme-*"],
    "sqlInstances": ["main"],
    "databases": ["main/shop"],
    "urlMaps": ["site"],
    "backends": ["files", "api"],
    "domains": ["*.acme.example"],
    "secrets": ["db"],
}
NOW_ = datetime(2026, 11, 28, tzinfo=UTC)


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with another value at `a.b.0.c`."""
    found = copy.deepcopy(document)
    *parents, last = path.split(".")
    at: Any = found
    for key in parents:
        at = at[int(key) if key.isdecimal() else key]
    at[int(last) if last.isdecimal() else last] = value
    return found


def released(spec: dict[str, Any], environment: dict[str, Any] = ENVIRONMENT) -> Release:
    """The release of a spec as it is remembered, with the template of its revision."""
    parsed, place = parse_deployment(spec), place_of(parse_environment(environment))
    release = make_release(parsed, Resolved(IMAGE, IMAGE, {"DB_PASSWORD": "3"}, "b" * 64), "owner")
    names = Names("shop", "concierge", "uid-1", place.project, place.region)
    return build_blueprint(parsed, names, place, release).release


# --- everything that a tenant can name -------------------------------------------------------------------------------

VICTIM = "projects/victim-prod/notificationChannels/7"
IN_ENVIRONMENT = {
    "projectId": "victim-prod",
    "region": "europe-west9",
    "database.instance": "victim",
    "database.databases.0": "victim",
    "storage.assets.bucket": "victim-assets",
    "storage.artifacts.bucket": "victim-bundles",
    "edge.domain": "victim.example",
    "edge.urlMap": "victim",
    "edge.backendBucket": "victim-files",
    "edge.backendService": "victim-api",
    "observability.channels.0.resource": VICTIM,
}
# What is refused, where it is not the value itself.
REFUSED = {
    "database.instance": ["victim", "victim/shop"],
    "database.databases.0": ["main/victim"],
    "observability.channels.0.resource": ["victim-prod"],
}
# What a release that is there does not depend on: the environment alone names it.
ENVIRONMENTS_OWN = ("database.databases.0",)
IN_SPEC = {
    "backend.image": "us-docker.pkg.dev/victim/app:1",
    "backend.serviceAccount": "administrator",
    "backend.secrets.0.secret": "victim-password",
    "backend.ingress": "All",
    "migrations.image": "docker.io/evil/migrate:1",
    "migrations.serviceAccount": "administrator",
    "smoke.0.job.image": "docker.io/evil/check:1",
    "smoke.0.job.serviceAccount": "concierge@victim-prod.iam.gserviceaccount.com",
    "alerts.channels.0": "ceo",
}


def test_what_the_policy_lists_is_permitted() -> None:
    policy, environment, spec = parse_policy(POLICY), parse_environment(ENVIRONMENT), parse_deployment(SPEC)
    place = place_of(environment)
    assert refusals(of_spec(spec, place), "shop", [policy]) == ()
    assert refusals(of_environment(environment), "shop", [policy]) == ()
    assert refusals(of_release(released(SPEC), place), "shop", [policy]) == ()


@pytest.mark.parametrize(("path", "value"), IN_ENVIRONMENT.items())
def test_a_part_of_somebody_else_is_refused_by_its_field(path: str, value: str) -> None:
    policy, environment = parse_policy(POLICY), parse_environment(changed(ENVIRONMENT, path, value))
    place = place_of(environment)
    for found in (refusals(of_spec(parse_deployment(SPEC), place, databases_of(environment)), "shop", [policy]),):
        assert [v.value for v in found] == REFUSED.get(path, [value])
        assert "spec.environmentRef (prod)" in found[0].path
    if path not in ENVIRONMENTS_OWN:
        assert refusals(of_release(released(SPEC), place), "shop", [policy]), "neither is a release that is there"
    if path != "edge.domain":
        assert refusals(of_environment(environment), "shop", [policy]), "nor is it looked whether it exists"


@pytest.mark.parametrize(("path", "value"), IN_SPEC.items())
def test_a_value_of_the_spec_that_is_not_listed_is_refused_by_its_field(path: str, value: str) -> None:
    spec = parse_deployment(changed(SPEC, path, value))
    found = refusals(of_spec(spec, place_of(parse_environment(ENVIRONMENT))), "shop", [parse_policy(POLICY)])
    assert [v.value for v in found] == [value]
    assert found[0].path.replace("[0]", ".0") == f"spec.{path}"


@pytest.mark.parametrize(
    "part", sorted(set(POLICY) - {"namespaces", "projects", "regions", "serviceAccounts", "imageRepositories"})
)
def test_what_no_policy_lists_is_forbidden(part: str) -> None:
    without = {key: value for key, value in POLICY.items() if key != part}
    without |= {"channels": []} if part == "channels" else {}
    environment, policy = parse_environment(ENVIRONMENT), parse_policy(without)
    place = place_of(environment)
    assert refusals(of_spec(parse_deployment(SPEC), place, databases_of(environment)), "shop", [policy])
    found = blockers(parse_deployment(SPEC), environment, None, "shop", [policy], NOW_)
    assert [b.reason for b in found] == [Reason.NOT_PERMITTED]
    assert bool(refusals(of_release(released(SPEC), place), "shop", [policy])) == (part != "databases")


@pytest.mark.parametrize(
    ("database", "pattern", "expected"),
    [
        ("shop", "main/shop", True),
        ("shop", "main/*", True),
        ("shop", "main/sh*", True),
        ("shop", "*", True),
        ("shop", "main/sho", False),
        ("shop", "mai/shop", False),
        ("shop_admin", "main/shop", False),
    ],
)
def test_a_database_is_one_of_its_instance(database: str, pattern: str, expected: bool) -> None:
    environment = parse_environment(changed(ENVIRONMENT, "database.databases", [database]))
    policy = parse_policy(POLICY | {"databases": [pattern]})
    assert (refusals(of_environment(environment), "shop", [policy]) == ()) is expected


@pytest.mark.parametrize("pattern", ["main*", "main*/shop", "*/shop", "shop", "/shop", "main/a*b"])
def test_a_pattern_of_databases_names_its_instance(pattern: str) -> None:
    with pytest.raises(SpecInvalid, match="databases"):
        parse_policy(POLICY | {"databases": [pattern]})


def test_an_environment_is_asked_for_the_parts_that_it_names() -> None:
    bare = parse_environment({"projectId": "acme-prod", "region": "us-central1", "secrets": [{"name": "db"}]})
    assert refusals(of_environment(bare), "shop", [parse_policy(POLICY)]) == ()
    found = refusals(of_environment(bare), "shop", [parse_policy(POLICY | {"secrets": []})])
    assert [str(v) for v in found] == ["spec.secrets: db is not permitted; allowed secrets: none"]


def test_a_release_without_a_record_is_known_by_its_image() -> None:
    place = place_of(parse_environment(ENVIRONMENT))
    bare = replace(released(SPEC), template="", image="docker.io/evil/app@sha256:" + "a" * 64)
    assert [v.path for v in refusals(of_release(bare, place), "shop", [parse_policy(POLICY)])] == ["image"]
    assert forbidden([bare], None, "shop", []) == {}


@pytest.mark.parametrize(
    ("image", "prefix", "expected"),
    [
        ("us-docker.pkg.dev:8443/evil", "us-docker.pkg.dev", False),
        ("us-docker.pkg.dev/acme/app", "us-docker.pkg.dev", True),
        ("us-docker.pkg.dev/acme/app:v1", "us-docker.pkg.dev/acme/app", True),
        ("us-docker.pkg.dev/acme/app@sha256:ab", "us-docker.pkg.dev/acme/app", True),
        ("us-docker.pkg.dev/acme-evil/app", "us-docker.pkg.dev/acme", False),
        ("h:8443/app", "h:8443", True),
        ("h:84431/app", "h:8443", False),
    ],
)
def test_a_prefix_of_an_image_ends_at_its_end(image: str, prefix: str, expected: bool) -> None:
    assert from_repository(image, [prefix]) is expected


@pytest.mark.parametrize(
    ("host", "pattern", "expected"),
    [
        ("shop.acme.example", "*.acme.example", True),
        ("a.b.acme.example", "*.acme.example", True),
        ("acme.example", "*.acme.example", False),
        ("evilacme.example", "*.acme.example", False),
        ("acme.example.evil", "acme.example", False),
        ("acme.example", "acme.example", True),
        ("anything", "*", True),
    ],
)
def test_a_domain_pattern_speaks_for_hosts_below_it(host: str, pattern: str, expected: bool) -> None:
    assert is_domain(host, [pattern]) is expected


@pytest.mark.parametrize("pattern", ["runtime@proj-a*", "a*b", "runtime*@proj.iam.gserviceaccount.com"])
def test_a_pattern_that_reaches_further_than_it_reads_is_refused(pattern: str) -> None:
    with pytest.raises(SpecInvalid, match="serviceAccounts"):
        parse_policy(POLICY | {"serviceAccounts": [pattern]})


# --- a permission that is withdrawn ----------------------------------------------------------------------------------

REVOKED = Blocker(ConditionType.SPEC_ACCEPTED, Reason.NOT_PERMITTED, "withdrawn", "ask", revokes=True)
EVERYTHING = {FIRST.id: "withdrawn", SECOND.id: "withdrawn"}


HEALTHY = Memory(
    phase=Phase.HEALTHY,
    since=NOW,
    stable=SECOND,
    promoted=(Promotion(SECOND, NOW, FIRST.id), Promotion(FIRST, NOW)),
)


NEW = Target(NAMES.revision(SECOND.id), 100, NAMES.tag(SECOND.id))
SEEN = Snapshot(
    fingerprint=SECOND.fingerprint,
    service=ServiceView(
        name=NAMES.service,
        etag="e",
        owner=NAMES.owner,
        uri="http://x",
        traffic=(NEW,),
        serving=(NEW,),
        tag_uris={},
        template_revision=NEW.revision,
        latest_created=NEW.revision,
        latest_ready=NEW.revision,
        reconciling=False,
        ready=True,
    ),
    service_known=True,
    pointer_known=True,
    alerts=(),
)


def test_an_undo_to_a_forbidden_release_is_refused() -> None:
    undo = Request(RequestKind.UNDO, "previous")
    refused = answer(HEALTHY, undo, Situation(forbidden={FIRST.id: "serviceAccount: x is not permitted"}))
    assert isinstance(refused, Refusal)
    assert "(aaaa) is not permitted: serviceAccount: x is not permitted" in refused.message
    assert not isinstance(answer(HEALTHY, undo, Situation(forbidden={SECOND.id: "no"})), Refusal)


def test_an_undo_waits_for_the_stop_button_and_not_for_a_freeze_window() -> None:
    stop = Blocker(ConditionType.SPEC_ACCEPTED, Reason.FROZEN, "stopped by an administrator", "wait")
    window = replace(stop, until="2026-12-01T00:00:00Z", message="freeze window")
    for blocker, phase in ((stop, Phase.HEALTHY), (window, Phase.UNDOING)):
        seen = replace(SEEN, blockers=(blocker,), request=Request(RequestKind.UNDO, "previous"))
        memory = decide(Case(HEALTHY, seen, None, NAMES, NOW), 10).memory
        assert memory.phase is phase
        assert memory.acknowledged is not None


def test_an_undo_away_from_a_forbidden_release_goes_its_way() -> None:
    undoing = replace(HEALTHY, phase=Phase.UNDOING, undo_to=FIRST)
    assert Case(undoing, replace(SEEN, forbidden={SECOND.id: "no"}), None, NAMES, NOW).is_permitted
    target = Case(undoing, replace(SEEN, forbidden={FIRST.id: "serviceAccount: x"}), None, NAMES, NOW)
    assert not target.is_permitted
    ended = decide(target, 10).memory
    assert ended.phase is Phase.PENDING, "users stay where they are"
    assert ended.acknowledged is None or "serviceAccount: x" in ended.acknowledged.message


def test_a_withdrawn_permission_is_said_and_nothing_is_claimed_about_drift() -> None:
    inputs = Inputs(memory=HEALTHY, generation=1, now=NOW, previous={}, compared=True, forbidden=EVERYTHING)
    found = {c["type"]: c for c in summarize(inputs)["conditions"]}
    assert (found["DriftFree"]["status"], found["DriftFree"]["reason"]) == ("Unknown", "NotPermitted")
    assert "is not permitted any more and is not corrected: withdrawn" in found["DriftFree"]["message"]
    assert (found["RollbackReady"]["status"], found["RollbackReady"]["reason"]) == ("False", "NotPermitted")


def test_a_permission_that_is_back_is_no_reason_to_remember_the_refusal() -> None:
    withdrawn = summarize(Inputs(memory=HEALTHY, generation=1, now=NOW, previous={}, forbidden=EVERYTHING))
    again = summarize(Inputs(memory=HEALTHY, generation=1, now=NOW, previous=withdrawn))
    found = {c["type"]: c for c in again["conditions"]}
    assert (found["RollbackReady"]["status"], found["RollbackReady"]["reason"]) == ("Unknown", "NotObserved")


def test_alert_channels_of_a_spec_that_is_not_permitted_are_not_taken() -> None:
    """The channels are no part of a release: the same release with others is refused, and pages nobody new."""
    stable = replace(SECOND, alerts={"error_rate": 0.1, "channels": ["oncall"]})
    memory = replace(HEALTHY, stable=stable)
    plan = blueprint(memory, SECOND.fingerprint)
    assert plan is not None
    paged = replace(plan, release=replace(plan.release, alerts={"error_rate": 0.1, "channels": ["ceo"]}))
    for found, channel in (((), "ceo"), ((REVOKED,), "oncall")):
        seen = replace(SEEN, blockers=found)
        kept = decide(Case(memory, seen, paged, NAMES, NOW), 10).memory.stable
        assert kept is not None
        assert kept.alerts == {"error_rate": 0.1, "channels": [channel]}


# --- a policy that can't be read -------------------------------------------------------------------------------------

BROKEN = {**POLICY, "freezes": [{"name": "x", "from": "2020-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}]}


def test_an_unreadable_policy_holds_what_it_names_and_permits_nothing() -> None:
    directory = WatchedDirectory()
    assert directory.put_policy("good", POLICY) == ("shop",)
    assert directory.put_policy("bad", BROKEN) == ("shop",)
    assert len(directory.policies()) == 1
    (broken,) = directory.unreadable()
    assert "must be a time" in broken.error
    freeze = frozen(directory.policies(), "shop", NOW_, directory.unreadable())
    assert freeze is not None
    assert freeze.message.startswith("AgUiPolicy bad can't be read, so nothing continues: ")
    assert frozen(directory.policies(), "other", NOW_, directory.unreadable()) is None


def test_the_only_policy_unreadable_holds_a_canary_and_does_not_take_it_back() -> None:
    spec, environment = parse_deployment(SPEC), parse_environment(ENVIRONMENT)
    broken = Unreadable("bad", ("shop",), "must be a time")
    found = blockers(spec, environment, None, "shop", [], NOW_, None, [broken])
    assert [(b.reason, b.revokes, b.holds_running) for b in found] == [
        (Reason.NOT_PERMITTED, False, True),
        (Reason.FROZEN, False, True),
    ]
    gone = blockers(spec, environment, None, "shop", [], NOW_)
    assert [(b.reason, b.revokes) for b in gone] == [(Reason.NOT_PERMITTED, True)]


@pytest.mark.parametrize("raw", [None, 7, {}, {"namespaces": "x"}, {"namespaces": []}, {"namespaces": ["a", 7]}])
def test_a_policy_that_does_not_say_for_whom_speaks_for_all(raw: Any) -> None:
    assert namespaces_of(raw) == ("*",)
    assert namespaces_of({"namespaces": ["a", "b-*"]}) == ("a", "b-*")
