"""The shipped Deployment has room for what the operator opens at once."""

from __future__ import annotations

import yaml

from agui_dev.paths import ROOT
from agui_operator.gcp.kinds.storage.publications import AT_ONCE
from agui_operator.gcp.kinds.storage.unpack import BundleLimits

MB = 1024 * 1024


def test_bundles_lie_on_disk_and_the_volume_has_room_for_all_that_are_open_at_once() -> None:
    documents = yaml.safe_load_all((ROOT / "manifests/base/deployment.yaml").read_text())
    spec = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    (tmp,) = [v["emptyDir"] for v in spec["volumes"] if v["name"] == "tmp"]
    limits = BundleLimits()
    assert "medium" not in tmp, "a file in memory counts as memory"
    assert int(tmp["sizeLimit"].removesuffix("Mi")) * MB >= AT_ONCE * (limits.packed + limits.unpacked)
