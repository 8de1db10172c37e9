"""The start of localgcp takes time in proportion to what it has to bring back."""

from __future__ import annotations

import cProfile
import pstats
import sys
from pathlib import Path
from typing import Any

import yaml
from google.cloud import run_v2

from localgcp.kit.call import Call
from localgcp.kit.catalogue import Catalogue
from localgcp.kit.cloud import Cloud
from localgcp.kit.interfaces import RUNTIME
from localgcp.kit.settings import Settings
from localgcp.services import run
from localgcp.services.run.services import Services

PARENT = "projects/demo/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/demo/r/app"


class QuickRuntime:
    """Starts nothing."""

    async def start(self, spec: Any) -> None:
        pass

    def route(self, route: Any) -> None:
        pass


def catalogue(folder: Path) -> Catalogue:
    path = folder / "images.yaml"
    path.write_text(yaml.safe_dump({"images": {IMAGE: {"v1": {"command": [sys.executable], "content": []}}}}))
    return Catalogue.load(path)


async def fill(folder: Path, count: int) -> None:
    """`count` services with two revisions each, as an earlier localgcp left them."""
    settings = Settings(state_dir=folder, lro_seconds=0.0)
    cloud = Cloud(settings, (run.SERVICE,), {RUNTIME: QuickRuntime()}, catalogue(folder))
    services = Services(cloud)
    call = Call("google.cloud.run.v2.Services", "CreateService", {}, cloud.ledger)
    service = run_v2.Service.pb()(template={"containers": [{"image": f"{IMAGE}:v1"}]})
    create = run_v2.CreateServiceRequest.pb()(parent=PARENT, service_id="web-00000", service=service)
    operation = await services.CreateService(create, call)
    assert operation.done
    assert not operation.HasField("error")
    service.name = f"{PARENT}/services/web-00000"
    service.template.containers[0].args.append("again")
    await services.UpdateService(run_v2.UpdateServiceRequest.pb()(service=service), call)
    for collection in ("run.services", "run.revisions", "run.revision_templates"):
        table = cloud.store.protos(collection, _MESSAGES[collection])
        for name, message in list(table.items()):
            text = message.SerializeToString()
            for index in range(1, count):
                number = f"{index:05}".encode()
                copy = type(message).FromString(text.replace(b"web-00000", b"web-" + number))
                table.put(name.replace("web-00000", f"web-{index:05}"), copy)
    await cloud.stop()


_MESSAGES: dict[str, Any] = {
    "run.services": run_v2.Service.pb(),
    "run.revisions": run_v2.Revision.pb(),
    "run.revision_templates": run_v2.RevisionTemplate.pb(),
}


async def calls_of_a_start(folder: Path, count: int) -> int:
    """Function calls of a start with `count` services: a measure that no other process disturbs."""
    await fill(folder, count)
    images = catalogue(folder)
    profile = cProfile.Profile()
    profile.enable()
    cloud = Cloud(Settings(state_dir=folder, edge_port=1), (run.SERVICE,), catalogue=images)
    services = Services(cloud)
    await cloud.start()
    await services.open()
    cloud.operations.recover()
    profile.disable()
    stats: Any = pstats.Stats(profile)
    assert len(cloud.part(run.PROCESSES).routes.serving()) == count
    await cloud.stop()
    return int(stats.total_calls)


async def test_twice_as_many_services_take_twice_as_long(tmp_path: Path) -> None:
    few, many = 150, 300
    (tmp_path / "few").mkdir(mode=0o700)
    (tmp_path / "many").mkdir(mode=0o700)
    some = await calls_of_a_start(tmp_path / "few", few)
    more = await calls_of_a_start(tmp_path / "many", many)
    assert more / some < 2.1
    assert more / many < 10_000
