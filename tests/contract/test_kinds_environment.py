"""Every kind that an environment can stand on, against the local cloud: created, observed, compared, changed, listed
by its owner and deleted; and what happens when an attempt is lost or the name is taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.core.errors import CloudError, NotOwned
from agui_operator.core.provisioning.graph import Site
from agui_operator.core.provisioning.plan import Diff, State
from agui_operator.gcp.kinds.contract import Kind, View, create_once
from agui_operator.gcp.kinds.edge.backend_bucket import BackendBucket
from agui_operator.gcp.kinds.edge.backend_service import BackendService
from agui_operator.gcp.kinds.edge.base_url_map import UrlMap
from agui_operator.gcp.kinds.edge.forwarding_rule import ForwardingRule
from agui_operator.gcp.kinds.edge.serverless_neg import ServerlessNeg
from agui_operator.gcp.kinds.edge.target_proxy import TargetHttpProxy
from agui_operator.gcp.kinds.monitoring.notification_channel import NotificationChannel
from agui_operator.gcp.kinds.registry import KINDS
from agui_operator.gcp.kinds.secrets.secret import Secret
from agui_operator.gcp.kinds.sql.database import SqlDatabase
from agui_operator.gcp.kinds.sql.instance import SqlInstance
from agui_operator.gcp.kinds.sql.user import SqlUser
from agui_operator.gcp.kinds.storage.bucket import Bucket
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

pytestmark = pytest.mark.contract

SITE = Site("demo", "us-central1", "uid-1")
OTHER = replace(SITE, owner="uid-2")
LINK = "https://www.googleapis.com/compute/v1/projects/demo"


@dataclass(frozen=True)
class Case:
    """One kind's life. `drift`: a field and the value that somebody else gives it; `fixed`: a field that can't be
    changed and another value for it; `first`: what has to be there before."""

    want: Any
    drift: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[Any, ...] = ()
    has_owner: bool = True


BUCKET = Bucket("demo-files", "US-CENTRAL1", versioning=True)
INSTANCE = SqlInstance("main", "POSTGRES_16", "db-custom-1-3840", "us-central1")
FILES = BackendBucket("files", "demo-files", cdn=True)
OTHER_FILES = BackendBucket("other-files", "demo-files")
GROUP, OTHER_GROUP = ServerlessNeg("web", "shop-web"), ServerlessNeg("other", "shop-web")
MAP = UrlMap("site", f"{LINK}/global/backendBuckets/files")
PROXY, OTHER_PROXY = (TargetHttpProxy(name, f"{LINK}/global/urlMaps/site") for name in ("site", "other"))
CASES: dict[str, Case] = {
    "SqlInstance": Case(INSTANCE, {"tier": "db-custom-2-7680"}, {"version": "POSTGRES_15", "region": "europe-west1"}),
    "SqlDatabase": Case(SqlDatabase("main", "app"), first=(INSTANCE,), has_owner=False),
    "SqlUser": Case(
        SqlUser("main", "app", "app-db"), first=(INSTANCE, Secret("app-db", generated=True)), has_owner=False
    ),
    "Secret": Case(Secret("app-db", generated=True), {"generated": False}),
    "Bucket": Case(BUCKET, {"versioning": False}, {"location": "EU"}),
    "BackendBucket": Case(FILES, {"cdn": False}, first=(BUCKET,)),
    "ServerlessNeg": Case(GROUP, fixed={"service": "other-web"}),
    "BackendService": Case(
        BackendService("web", f"{LINK}/regions/us-central1/networkEndpointGroups/web", "HTTPS"),
        {"group": f"{LINK}/regions/us-central1/networkEndpointGroups/other"},
        first=(GROUP, OTHER_GROUP),
    ),
    "UrlMap": Case(MAP, {"default": f"{LINK}/global/backendBuckets/other-files"}, first=(BUCKET, FILES, OTHER_FILES)),
    "TargetHttpProxy": Case(
        PROXY,
        {"url_map": f"{LINK}/global/urlMaps/other"},
        first=(BUCKET, FILES, MAP, replace(MAP, name="other")),
    ),
    "ForwardingRule": Case(
        ForwardingRule("site", f"{LINK}/global/targetHttpProxies/site", 80),
        {"target": f"{LINK}/global/targetHttpProxies/other"},
        {"port": 8080},
        (BUCKET, FILES, MAP, PROXY, OTHER_PROXY),
    ),
    "NotificationChannel": Case(NotificationChannel("oncall", "oncall@a.example"), {"email": "b@a.example"}),
}
BY_TYPE = {kind.desired: kind for kind in KINDS.values()}


def test_every_kind_of_the_registry_is_tested_here() -> None:
    assert sorted(CASES) == sorted(KINDS)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_SQL_FIRST_LOOK", 0.3)


async def done(cloud: Cloud, work: Awaitable[Outcome]) -> None:
    outcome = await work
    if outcome.operation is not None:
        result = await operations.wait(cloud, outcome.operation, 60)
        assert result.done
        if result.error is not None:
            raise result.error


async def prepared(cloud: Cloud, case: Case) -> None:
    for want in case.first:
        await done(cloud, BY_TYPE[type(want)].create(cloud, SITE, want))


async def seen(cloud: Cloud, kind: Kind[Any], want: Any) -> View:
    found = await kind.observe(cloud, SITE, want)
    assert found is not None
    return found


def identity(want: Any) -> Any:
    """The desired state with nothing but what identifies the resource."""
    return replace(want, **{f.name: None for f in fields(want) if f.default is None})


@pytest.mark.parametrize("name", CASES)
async def test_a_resource_lives(cloud: Cloud, fresh_cloud: LocalCloud, name: str) -> None:
    case, kind = CASES[name], KINDS[name]
    want = case.want
    await prepared(cloud, case)
    assert await kind.observe(cloud, SITE, want) is None
    assert identity(want) not in await kind.owned(cloud, SITE)

    await done(cloud, kind.create(cloud, SITE, want))
    have = await seen(cloud, kind, want)
    assert (have.state, have.owner) == (State.READY, SITE.owner if case.has_owner else None)
    assert kind.diff(want, have) == Diff()
    assert have.outputs["name"]
    since = fresh_cloud.last

    for key, value in case.fixed.items():
        assert kind.diff(replace(want, **{key: value}), have) == Diff((), (key,))
    for key, value in case.drift.items():
        await drifted(cloud, kind, want, key, value)
        have = await seen(cloud, kind, want)
        assert kind.diff(want, have) == Diff((key,))
        await done(cloud, kind.update(cloud, SITE, want, have))
        have = await seen(cloud, kind, want)
        assert kind.diff(want, have) == Diff()
        assert have.owner == (SITE.owner if case.has_owner else None), "the owner stays"
    assert bool(case.drift) == bool(fresh_cloud.effects(since))

    if case.has_owner:
        assert list(await kind.owned(cloud, SITE)).count(identity(want)) == 1
    assert list(await kind.owned(cloud, OTHER)) == []
    await done(cloud, kind.delete(cloud, SITE, want))
    assert await kind.observe(cloud, SITE, want) is None
    assert identity(want) not in await kind.owned(cloud, SITE)
    since = fresh_cloud.last
    await done(cloud, kind.delete(cloud, SITE, want))
    assert fresh_cloud.effects(since) == []


async def drifted(cloud: Cloud, kind: Kind[Any], want: Any, key: str, value: Any) -> None:
    """What somebody else does to the resource."""
    if isinstance(want, Secret):  # its only version is destroyed with the secret; what is left has none
        await kind.delete(cloud, SITE, want)
        await kind.create(cloud, SITE, replace(want, generated=False))
        return
    await done(cloud, kind.update(cloud, SITE, replace(want, **{key: value}), await seen(cloud, kind, want)))


@pytest.mark.parametrize("name", CASES)
async def test_creating_again_after_a_crash_creates_nothing(cloud: Cloud, fresh_cloud: LocalCloud, name: str) -> None:
    case, kind = CASES[name], KINDS[name]
    await prepared(cloud, case)
    await done(cloud, create_once(kind, cloud, SITE, case.want))
    since = fresh_cloud.last
    await done(cloud, create_once(kind, cloud, SITE, case.want))
    assert fresh_cloud.effects(since) == []


NAMED = [name for name, case in CASES.items() if case.has_owner and name != "NotificationChannel"]


@pytest.mark.parametrize("name", NAMED)
async def test_what_others_own_is_neither_listed_nor_taken(cloud: Cloud, fresh_cloud: LocalCloud, name: str) -> None:
    case, kind = CASES[name], KINDS[name]
    await prepared(cloud, case)
    await done(cloud, kind.create(cloud, OTHER, case.want))
    assert identity(case.want) not in await kind.owned(cloud, SITE)
    since = fresh_cloud.last
    with pytest.raises(NotOwned, match=f"{kind.name} .* belongs to uid-2"):
        await create_once(kind, cloud, SITE, case.want)
    assert fresh_cloud.effects(since) == []


async def test_channels_of_others_are_left_alone(cloud: Cloud) -> None:
    """Names of channels are not unique: ours is created beside theirs."""
    kind, want = KINDS["NotificationChannel"], CASES["NotificationChannel"].want
    await kind.create(cloud, OTHER, want)
    await create_once(kind, cloud, SITE, want)
    await kind.delete(cloud, SITE, want)
    theirs = await kind.observe(cloud, OTHER, want)
    assert theirs is not None
    assert await kind.observe(cloud, SITE, want) is None
    assert await kind.observe(cloud, SITE, replace(want, resource=theirs.name)) == theirs


async def test_a_secret_without_its_version_is_completed(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    """The creation died between its two calls."""
    kind, want = KINDS["Secret"], CASES["Secret"].want
    fresh_cloud.fault(method="*AddSecretVersion", count=1, code="UNAVAILABLE", message="lost")
    with pytest.raises(CloudError, match="lost"):
        await kind.create(cloud, SITE, want)
    have = await seen(cloud, kind, want)
    assert kind.diff(want, have) == Diff(("generated",))
    await kind.update(cloud, SITE, want, have)
    await kind.update(cloud, SITE, want, await seen(cloud, kind, want))
    versions = fresh_cloud.call("/v1/projects/demo/secrets/app-db/versions")["versions"]
    assert len(versions) == 1


@pytest.mark.parametrize("name", ["SqlInstance", "Bucket", "BackendService", "UrlMap", "TargetHttpProxy"])
async def test_a_stale_look_writes_nothing(cloud: Cloud, fresh_cloud: LocalCloud, name: str) -> None:
    case, kind = CASES[name], KINDS[name]
    await prepared(cloud, case)
    await done(cloud, kind.create(cloud, SITE, case.want))
    stale = await seen(cloud, kind, case.want)
    await done(cloud, kind.update(cloud, SITE, replace(case.want, **case.drift), stale))
    since = fresh_cloud.last
    with pytest.raises(CloudError) as caught:
        await kind.update(cloud, SITE, case.want, stale)
    assert caught.value.code == 412
    assert fresh_cloud.effects(since) == []


async def test_every_page_is_read(cloud: Cloud, fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists by owner with one resource on each page."""
    small: Callable[[str], str] = lambda path: path.replace("maxResults=500", "maxResults=1")  # noqa: E731
    original = cloud.rest

    async def rest(request: Any) -> Any:
        return await original(replace(request, path=small(request.path)))

    monkeypatch.setattr(cloud, "rest", rest)
    for module in ("secrets.secret", "monitoring.notification_channel"):
        monkeypatch.setattr(f"agui_operator.gcp.kinds.{module}._PAGE", 1)
    wanted = [Bucket("demo-a"), Bucket("demo-b"), Secret("a"), Secret("b"), GROUP, OTHER_GROUP]
    wanted += [NotificationChannel("a"), NotificationChannel("b")]
    for want in wanted:
        have = replace(want, email="a@a.example") if isinstance(want, NotificationChannel) else want
        await done(cloud, BY_TYPE[type(want)].create(cloud, SITE, have))
    for kind in ("Bucket", "Secret", "ServerlessNeg", "NotificationChannel"):
        found = await KINDS[kind].owned(cloud, SITE)
        names = [want.name for want in wanted if isinstance(want, KINDS[kind].desired)]
        assert sorted(each.name for each in found) == sorted(names)
