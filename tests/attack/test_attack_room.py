"""The shipped Deployment has room for what the operator opens at once."""

from __future__ import annotations

import errno
import io
from typing import cast

import pytest
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed import bundle_bombs as bombs
from agui_dev.testbed.bundle_bombs import MB
from agui_operator.core.actions import Bundle
from agui_operator.core.errors import CloudError, Fault, classify
from agui_operator.gcp.kinds.storage import bundle as bundle_module
from agui_operator.gcp.kinds.storage.bundle import BundleRefused, contents_of
from agui_operator.gcp.kinds.storage.publications import AT_ONCE, Publications
from agui_operator.gcp.kinds.storage.spool import Spool
from agui_operator.gcp.kinds.storage.unpack import BundleLimits, report_of
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.rest import RestRequest
from artifacts_bucket import Artifacts, read


def test_bundles_lie_on_disk_and_the_volume_has_room_for_all_that_are_open_at_once() -> None:
    documents = yaml.safe_load_all((ROOT / "manifests/base/deployment.yaml").read_text())
    spec = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    (tmp,) = [v["emptyDir"] for v in spec["volumes"] if v["name"] == "tmp"]
    limits = BundleLimits()
    assert "medium" not in tmp, "a file in memory counts as memory"
    assert int(tmp["sizeLimit"].removesuffix("Mi")) * MB >= AT_ONCE * (limits.packed + limits.unpacked)


class Full:
    """A bucket whose archive does not fit on the operator's disk."""

    async def rest(self, request: RestRequest) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_retried_and_says_what_to_enlarge() -> None:
    bundle = Bundle("artifacts", "b.tar.gz", "0" * 64)
    with pytest.raises(CloudError, match="enlarge its volume") as full:
        async with Publications().opened(cast("Cloud", Full()), bundle, "a"):
            pass
    assert classify(full.value) is Fault.TRANSIENT


class FullFile(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_the_child_can_not_write_is_no_fault_of_the_bundle() -> None:
    report = report_of(io.BytesIO(bombs.legal(1, MB)), FullFile(), BundleLimits())
    assert report == {"failed": "No space left on device"}
    with Spool() as spool, pytest.raises(OSError, match="No space left"):
        contents_of(report, spool)


async def test_a_child_that_was_killed_refuses_the_bundle_this_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "_PROGRAM", "import os; os.kill(os.getpid(), 9)")
    artifacts, publications = Artifacts(), Publications()
    bundle = artifacts.add(bombs.legal(1, MB))
    for _ in range(2):
        with pytest.raises(BundleRefused, match="ended by signal 9"):
            await read(artifacts, bundle, publications)
    assert artifacts.downloads == 2


async def test_a_bundle_that_takes_too_long_is_refused() -> None:
    artifacts = Artifacts()
    with pytest.raises(BundleRefused, match="takes more than 0 s"):
        await read(artifacts, artifacts.add(bombs.legal(1, MB)), Publications(BundleLimits(seconds=0)))
