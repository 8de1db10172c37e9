"""Every long-running operation of every service, killed before each of its durable steps and taken up again.

A step is a write of the store (a transaction is one), of a secret's payload, or of PostgreSQL. After the kill a new
cloud stands on what was durable. If the operation was recorded, it must end as if nothing had happened; if it was not,
nothing else may be there either, so that the client can send its request again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import make_mocked_request
from google.cloud import run_v2, secretmanager_v1

from localgcp.kit import cloud as cloud_module
from localgcp.kit.call import Call
from localgcp.kit.catalogue import Catalogue
from localgcp.kit.cloud import Cloud
from localgcp.kit.errors import ApiError
from localgcp.kit.interfaces import RUNTIME, TaskResult, Workload
from localgcp.kit.operations import Operation
from localgcp.kit.settings import Settings
from localgcp.kit.store import Store
from localgcp.services import compute, metadata, run, secretmanager, sql
from localgcp.services.secretmanager.store import ENABLED, STORE, Secrets
from localgcp.services.sql.parts import POSTGRES, TLS
from localgcp.services.sql.postgres.installation import PostgresError

LOCATION = "projects/demo/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/demo/r/app:v1"
SERVICES = (metadata.SERVICE, sql.SERVICE, secretmanager.SERVICE, compute.SERVICE, run.SERVICE)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """What outlives a process: its files, and PostgreSQL's data. `left` durable steps happen before the kill."""

    folder: Path
    left: int | None = None
    steps: int = 0
    dead: bool = False
    long_tasks: bool = False
    postgres: dict[str, dict[str, Any]] = field(default_factory=dict)
    backups: set[str] = field(default_factory=set)

    def step(self) -> None:
        if self.dead or (self.left is not None and self.steps >= self.left):
            self.dead = True
            raise Killed
        self.steps += 1


class FakePostgres:
    """Databases and roles by instance, with the statements that Cloud SQL's admin API runs."""

    def __init__(self, world: World) -> None:
        self.world, self.data = world, world.postgres

    def version(self) -> str:
        return "POSTGRES_17_0"

    def iam_password(self, project: str, instance: str, role: str) -> str:
        return f"iam-{role}"

    async def create(self, project: str, instance: str, flags: Any = None) -> None:
        if instance not in self.data:
            self.world.step()
            self.data[instance] = {"databases": ["postgres"], "roles": {"postgres": ""}, "flags": dict(flags or {})}

    async def configure(self, project: str, instance: str, *, flags: Any, stopped: bool) -> None:
        self.world.step()
        self.data[instance] |= {"flags": dict(flags), "stopped": stopped}

    async def delete(self, project: str, instance: str) -> None:
        self.world.step()
        self.data.pop(instance, None)

    async def clone(self, project: str, instance: str, target: str) -> None:
        self.world.step()
        self.data[target] = json.loads(json.dumps(self.data[instance]))

    async def back_up(self, project: str, instance: str, backup: str) -> int:
        self.world.step()
        self.world.backups.add(backup)
        return 1

    async def restore(self, project: str, instance: str, source_project: str, backup: str) -> None:
        assert backup in self.world.backups
        self.world.step()
        self.data[instance]["restored"] = True

    async def delete_backup(self, project: str, backup: str) -> None:
        self.world.step()
        self.world.backups.discard(backup)

    async def sql(self, project: str, instance: str, script: str, database: str = "postgres") -> str:
        server = self.data[instance]
        if "FROM pg_database" in script:
            return "\n".join(json.dumps({"name": n}) for n in server["databases"] if n in script or "=" not in script)
        if "FROM pg_roles" in script:
            return "\n".join(json.dumps({"name": n, "group": None}) for n in server["roles"])
        if 'GRANT "absent"' in script:
            raise PostgresError("role absent does not exist")
        self.world.step()
        databases, roles = list(server["databases"]), dict(server["roles"])
        for verb, kind, there, name, rest in re.findall(
            r'(CREATE|DROP|ALTER) (DATABASE|ROLE) (IF EXISTS )?"?(\w+)"?(.*);', script
        ):
            known: Any = databases if kind == "DATABASE" else roles
            if (name in known) == (verb == "CREATE") and not there:
                raise PostgresError(f"{kind} {name}: exists is {name in known}")
            if verb == "DROP":
                databases = [other for other in databases if kind != "DATABASE" or other != name]
                roles = {other: word for other, word in roles.items() if kind != "ROLE" or other != name}
            elif kind == "DATABASE":
                databases.append(name)
            else:
                roles[name] = "password" if "PASSWORD" in rest else ""
        server |= {"databases": databases, "roles": roles}
        return ""


class FakeTls:
    def address(self, project: str, instance: str) -> str:
        return "127.0.0.1"

    async def forget(self, project: str, instance: str) -> None:
        pass


class FakeRuntime:
    """Everything starts at once and ends well; tasks go on until they are cancelled where the world says so."""

    def __init__(self, world: World) -> None:
        self.world, self.cancelled = world, asyncio.Event()

    async def start(self, spec: Any) -> None:
        pass

    async def stop(self, revision: Workload, grace: float = 10) -> None:
        pass

    async def run_task(self, spec: Any, env: Any, timeout: float) -> TaskResult:
        if self.world.long_tasks:
            await self.cancelled.wait()
        return TaskResult(0, (), 0.0)

    async def cancel_tasks(self, execution: Workload) -> None:
        self.cancelled.set()

    def route(self, route: Any) -> None:
        pass

    def unroute(self, project: str, location: str, service: str) -> None:
        pass

    def register(self, spec: Any) -> None:
        pass


class Life:
    """One process of localgcp in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        path = world.folder / "images.yaml"
        image = {"command": [sys.executable], "content": []}
        path.write_text(yaml.safe_dump({"images": {IMAGE.removesuffix(":v1"): {"v1": image}}}))
        settings = Settings(state_dir=world.folder, lro_seconds=0.0)
        parts = {RUNTIME: FakeRuntime(world), POSTGRES: FakePostgres(world), TLS: FakeTls()}
        self.cloud = Cloud(settings, SERVICES, parts, Catalogue.load(path))
        self.apis = {api.name: api.build(self.cloud) for service in SERVICES for api in service.protos}
        self.routes = [route for service in SERVICES if service.rest for route in service.rest(self.cloud)]

        LIVES.append(self)

    async def open(self) -> None:
        await self.cloud.start()
        for api in self.apis.values():
            if hasattr(api, "open"):
                await api.open()
        self.cloud.operations.recover()

    def end(self) -> None:
        self.cloud.ledger.close()
        self.cloud.store.close()

    async def settled(self) -> list[Operation]:
        for _ in range(200):
            operations = self.cloud.operations.list()
            if all(operation.done for operation in operations):
                break
            await asyncio.sleep(0.01)
        return operations

    async def proto(self, api: str, request: Any) -> Any:
        call = Call(api, type(request).__name__.removesuffix("Request"), {}, self.cloud.ledger)
        return await getattr(self.apis[api], call.method)(request, call)

    async def rest(self, method: str, names: dict[str, str], body: Any = None, query: str = "") -> Any:
        route = next(route for route in self.routes if route.method == method)
        path = re.sub(r"\{(\w+)[^}]*\}", lambda variable: names[variable[1]], route.pattern)
        request = make_mocked_request(route.http_method, f"{path}?{query}", match_info=names)
        request._read_bytes = json.dumps(body or {}).encode()
        answer = await route.func(request, Call("rest", method, {}, self.cloud.ledger))
        return json.loads(answer.body or b"{}")


Act = Callable[[Life], Awaitable[Any]]


@dataclass(frozen=True)
class Scenario:
    """`act` is a request that is killed, after `before`. `interrupts`: the work itself does not survive a restart;
    `fails`: the operation ends in an error, and has to do so when it is taken up again."""

    act: Act
    before: tuple[Act, ...] = ()
    interrupts: bool = False
    fails: bool = False


def run_proto(api: str, message: str, **fields: Any) -> Act:
    request = getattr(run_v2, f"{message}Request").pb()(**fields)
    return lambda life: life.proto(f"google.cloud.run.v2.{api}", request)


def secret(message: str, **fields: Any) -> Act:
    request = getattr(secretmanager_v1, f"{message}Request").pb()(**fields)
    return lambda life: life.proto("google.cloud.secretmanager.v1.SecretManagerService", request)


def rest(method: str, body: Any = None, query: str = "", **names: str) -> Act:
    return lambda life: life.rest(method, {"project": "demo", **names}, body, query)


async def newest_execution(life: Life) -> str:
    return max(name for name, _ in life.cloud.part(run.RUNS).executions.items())


async def delete_execution(life: Life) -> Any:
    name = await newest_execution(life)
    return await run_proto("Executions", "DeleteExecution", name=name)(life)


async def delete_old_revision(life: Life) -> Any:
    found = await run_proto("Revisions", "ListRevisions", parent=f"{LOCATION}/services/web")(life)
    if len(found.revisions) < 2:
        return None
    return await run_proto("Revisions", "DeleteRevision", name=found.revisions[-1].name)(life)


async def restore_backup(life: Life) -> Any:
    number = next(key for key, _ in life.cloud.store.json("sql.backups").items()).rpartition("/")[2]
    body = {"restoreBackupContext": {"backupRunId": number}}
    return await life.rest("sqladmin.instances.restoreBackup", {"project": "demo", "instance": "main"}, body)


async def delete_backup(life: Life) -> Any:
    number = next(key for key, _ in life.cloud.store.json("sql.backups").items()).rpartition("/")[2]
    names = {"project": "demo", "instance": "main", "id": number}
    return await life.rest("sqladmin.backupRuns.delete", names)


def template(*args: str) -> dict[str, Any]:
    return {"containers": [{"image": IMAGE, "args": args}]}


SERVICE, JOB = f"{LOCATION}/services/web", f"{LOCATION}/jobs/job"
WEB = {"template": template()}
CREATE_SERVICE = run_proto("Services", "CreateService", parent=LOCATION, service_id="web", service=WEB)
UPDATE_SERVICE = run_proto("Services", "UpdateService", service={"name": SERVICE, "template": template("again")})
CREATE_JOB = run_proto("Jobs", "CreateJob", parent=LOCATION, job_id="job", job={"template": {"template": template()}})
RUN_JOB = run_proto("Jobs", "RunJob", name=JOB)
INSTANCE = {"name": "main", "databaseVersion": "POSTGRES_17", "settings": {"tier": "db-f1-micro"}}
CREATE_INSTANCE = rest("sqladmin.instances.insert", INSTANCE)
ONE = {"instance": "main"}
BACK_UP = rest("sqladmin.backupRuns.insert", **ONE)
CREATE_DATABASE = rest("sqladmin.databases.insert", {"name": "app"}, **ONE)
CREATE_USER = rest("sqladmin.users.insert", {"name": "app", "password": "secret-word"}, **ONE)
BUCKET = {"name": "b", "bucketName": "x"}
SECRET = (
    secret("CreateSecret", parent="projects/demo", secret_id="s", secret={"replication": {"automatic": {}}}),
    secret("AddSecretVersion", parent="projects/demo/secrets/s", payload={"data": b"x"}),
)
SCENARIOS = {
    "run.services.create": Scenario(CREATE_SERVICE),
    "run.services.create of an unknown image": Scenario(
        run_proto(
            "Services",
            "CreateService",
            parent=LOCATION,
            service_id="web",
            service={"template": {"containers": [{"image": "absent"}]}},
        ),
        fails=True,
    ),
    "run.services.update": Scenario(UPDATE_SERVICE, (CREATE_SERVICE,)),
    "run.services.delete": Scenario(run_proto("Services", "DeleteService", name=SERVICE), (CREATE_SERVICE,)),
    "run.revisions.delete": Scenario(delete_old_revision, (CREATE_SERVICE, UPDATE_SERVICE)),
    "run.jobs.create": Scenario(CREATE_JOB),
    "run.jobs.delete": Scenario(run_proto("Jobs", "DeleteJob", name=JOB), (CREATE_JOB,)),
    "run.jobs.run": Scenario(RUN_JOB, (CREATE_JOB,), interrupts=True),
    "run.executions.delete": Scenario(delete_execution, (CREATE_JOB, RUN_JOB)),
    "sql.instances.insert": Scenario(CREATE_INSTANCE),
    "sql.instances.insert with a password": Scenario(
        rest("sqladmin.instances.insert", {**INSTANCE, "rootPassword": "secret-word"})
    ),
    "sql.instances.patch": Scenario(
        rest("sqladmin.instances.patch", {"settings": {"databaseFlags": [{"name": "work_mem", "value": "8"}]}}, **ONE),
        (CREATE_INSTANCE,),
    ),
    "sql.instances.restart": Scenario(rest("sqladmin.instances.restart", **ONE), (CREATE_INSTANCE,)),
    "sql.instances.clone": Scenario(
        rest("sqladmin.instances.clone", {"cloneContext": {"destinationInstanceName": "copy"}}, **ONE),
        (CREATE_INSTANCE,),
    ),
    "sql.instances.delete": Scenario(rest("sqladmin.instances.delete", **ONE), (CREATE_INSTANCE, BACK_UP)),
    "sql.instances.restoreBackup": Scenario(restore_backup, (CREATE_INSTANCE, BACK_UP)),
    "sql.backupRuns.insert": Scenario(BACK_UP, (CREATE_INSTANCE,)),
    "sql.backupRuns.delete": Scenario(delete_backup, (CREATE_INSTANCE, BACK_UP)),
    "sql.databases.insert": Scenario(CREATE_DATABASE, (CREATE_INSTANCE,)),
    "sql.databases.delete": Scenario(
        rest("sqladmin.databases.delete", database="app", **ONE), (CREATE_INSTANCE, CREATE_DATABASE)
    ),
    "sql.users.insert": Scenario(CREATE_USER, (CREATE_INSTANCE,)),
    "sql.users.insert of an unknown role": Scenario(
        rest("sqladmin.users.insert", {"name": "app", "password": "secret-word", "databaseRoles": ["absent"]}, **ONE),
        (CREATE_INSTANCE,),
        fails=True,
    ),
    "sql.users.update": Scenario(
        rest("sqladmin.users.update", {"password": "new-word"}, "name=app", **ONE), (CREATE_INSTANCE, CREATE_USER)
    ),
    "sql.users.delete": Scenario(
        rest("sqladmin.users.delete", query="name=app", **ONE), (CREATE_INSTANCE, CREATE_USER)
    ),
    "compute.insert": Scenario(rest("compute.backendBuckets.insert", BUCKET)),
    "compute.insert with a request id": Scenario(rest("compute.backendBuckets.insert", BUCKET, "requestId=r1")),
    "compute.delete": Scenario(
        rest("compute.backendBuckets.delete", name="b"), (rest("compute.backendBuckets.insert", BUCKET),)
    ),
    # Not long-running, but several durable steps all the same.
    "secretmanager.destroy": Scenario(
        secret("DestroySecretVersion", name="projects/demo/secrets/s/versions/1"), SECRET
    ),
    "secretmanager.delete": Scenario(secret("DeleteSecret", name="projects/demo/secrets/s"), SECRET),
}


def observed(life: Life) -> dict[str, Any]:
    """What a client can see, without ids and times."""
    cloud, world = life.cloud, life.world
    store = cloud.store
    services = store.protos("run.services", run_v2.Service.pb())
    revisions = store.protos("run.revisions", run_v2.Revision.pb())
    executions = cloud.part(run.RUNS).executions
    jobs = store.protos("run.jobs", run_v2.Job.pb())
    versions = store.protos("secrets.versions", secretmanager_v1.SecretVersion.pb())
    return {
        "services": {name: (s.reconciling, s.terminal_condition.state) for name, s in services.items()},
        "revisions": sorted((r.service, r.reconciling, r.HasField("delete_time")) for r in revisions.values()),
        "jobs": {name: (j.reconciling, j.execution_count) for name, j in jobs.items()},
        "executions": sorted((e.job, e.reconciling) for e in executions.values()),
        "instances": {key: record["state"] for key, record in store.json("sql.instances").items()},
        "backups": sorted(record["status"] for record in store.json("sql.backups").values()),
        "postgres": world.postgres,
        "backup files": len(world.backups),
        "compute": sorted(key for key, _ in store.json("compute.resources").items()),
        "secrets": [key for key, _ in store.protos("secrets", secretmanager_v1.Secret.pb()).items()],
        "versions": [version.state for version in versions.values()],
        "payloads": len(list((world.folder / "secrets").iterdir())),
    }


WORLDS: dict[Path, World] = {}
LIVES: list[Life] = []


@pytest.fixture(autouse=True)
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Counts what is durable as steps of the world in the folder."""
    worlds = WORLDS

    class MortalStore(Store):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self._world = worlds[path.parent]

        def put(self, collection: str, key: str, value: bytes) -> int:
            self._step()
            return super().put(collection, key, value)

        def delete(self, collection: str, key: str) -> bool:
            self._step()
            return super().delete(collection, key)

        def transaction(self) -> Any:
            self._step()
            return super().transaction()

        def _step(self) -> None:
            if self._undo is None:
                self._world.step()

    def counted(name: str) -> None:
        plain = getattr(Secrets, name)

        def method(self: Secrets, *args: Any) -> Any:
            worlds[self._root.parent].step()
            return plain(self, *args)

        monkeypatch.setattr(Secrets, name, method)

    monkeypatch.setattr(cloud_module, "Store", MortalStore)
    counted("write_payload")
    counted("remove_payload")
    yield
    for life in LIVES:
        life.end()
    LIVES.clear()
    WORLDS.clear()


def new_world(folder: Path) -> World:
    folder.mkdir(mode=0o700)
    WORLDS[folder] = World(folder)
    return WORLDS[folder]


async def prepared(world: World, scenario: Scenario) -> Life:
    life = Life(world)
    await life.open()
    for before in scenario.before:
        await before(life)
        await life.settled()
    return life


async def undisturbed(folder: Path, scenario: Scenario) -> tuple[dict[str, Any], int, set[str]]:
    """The end state, the number of durable steps, and the kinds of all operations."""
    world = new_world(folder)
    life = await prepared(world, scenario)
    world.steps = 0
    await scenario.act(life)
    operations = await life.settled()
    assert any(operation.error() is not None for operation in operations) == scenario.fails
    steps, state = world.steps, observed(life)
    life.end()
    return state, steps, {operation.kind for operation in operations}


async def killed(folder: Path, scenario: Scenario, steps: int) -> Life:
    """A new life after the request of a scenario was killed before its next durable step."""
    world = new_world(folder)
    life = await prepared(world, scenario)
    world.steps, world.left = 0, steps
    known = {operation.name for operation in life.cloud.operations.list()}
    with contextlib.suppress(Killed):
        await scenario.act(life)
    for _ in range(20):
        await asyncio.sleep(0)
    await life.cloud.operations.stop()
    life.end()
    world.left, world.dead = None, False
    again = Life(world)
    recorded = [operation for operation in again.cloud.operations.list() if operation.name not in known]
    await again.open()
    for operation in await again.settled():
        assert operation.done, operation.kind
        if not scenario.interrupts:
            failed = scenario.fails and operation.name not in known
            assert (operation.error() is not None) == failed, (operation.kind, operation.error())
    for key, version in again.cloud.store.protos("secrets.versions", secretmanager_v1.SecretVersion.pb()).items():
        if version.state == ENABLED:
            assert again.cloud.part(STORE).read(key, version)
    if not recorded:
        await repeated(again, scenario)
    return again


async def repeated(life: Life, scenario: Scenario) -> None:
    """The client sends a request again whose reply it did not get."""
    try:
        await scenario.act(life)
    except ApiError as error:  # a request without an operation that was done
        assert error.code.name in ("NOT_FOUND", "FAILED_PRECONDITION"), error  # noqa: PT017
    await life.settled()


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_killed_operation_ends_as_if_nothing_had_happened(tmp_path: Path, name: str) -> None:
    scenario = SCENARIOS[name]
    expected, steps, _ = await undisturbed(tmp_path / "undisturbed", scenario)
    assert steps
    for left in range(steps + 1):
        life = await killed(tmp_path / str(left), scenario, left)
        assert observed(life) == expected, f"killed before step {left + 1} of {steps}"
        life.end()


async def test_a_cancelled_execution_is_cancelled_after_a_kill(tmp_path: Path) -> None:
    world = new_world(tmp_path / "world")
    life = await prepared(world, SCENARIOS["run.jobs.run"])
    world.long_tasks = True
    await RUN_JOB(life)
    name = await newest_execution(life)
    world.steps, world.left = 0, 1  # the operation is recorded, its work is not done
    with contextlib.suppress(Killed):
        await run_proto("Executions", "CancelExecution", name=name)(life)
    await life.cloud.operations.stop()
    life.end()
    world.left, world.dead = None, False
    again = Life(world)
    await again.open()
    ended = {operation.kind: operation for operation in await again.settled()}
    assert ended["run.execution.cancel"].done
    assert ended["run.execution.cancel"].error() is None
    execution = again.cloud.part(run.RUNS).executions.get(name)
    assert (execution.cancelled_count, execution.failed_count, execution.reconciling) == (1, 0, False)


async def test_no_password_is_on_the_disk(tmp_path: Path) -> None:
    world = new_world(tmp_path / "world")
    life = await prepared(world, SCENARIOS["sql.users.update"])
    world.steps, world.left = 0, 1  # the operation is recorded, its work is not done
    with contextlib.suppress(Killed):
        await SCENARIOS["sql.users.update"].act(life)
    await life.cloud.operations.stop()
    kept = life.cloud.store.json("sql.statements").values()
    assert [text.partition("$")[0] for [text] in (record["statements"] for record in kept)] == [
        'ALTER ROLE "app" PASSWORD \'SCRAM-SHA-256'
    ]
    files = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
    assert not any(b"new-word" in found or b"secret-word" in found for found in files)


async def test_every_kind_of_operation_is_killed_here(tmp_path: Path) -> None:
    kinds: set[str] = set()
    for name, scenario in SCENARIOS.items():
        kinds |= (await undisturbed(tmp_path / name, scenario))[2]
    world = new_world(tmp_path / "resumers")
    life = Life(world)
    assert kinds <= set(life.cloud.operations.resumable)
    assert set(life.cloud.operations.resumable) - kinds == {"run.execution.cancel"}  # in a test of its own
    life.end()
