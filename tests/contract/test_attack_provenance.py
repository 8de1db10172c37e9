"""Binary Authorization of the local cloud: an image without an attestation starts nowhere where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.cloud import run_v2

from agui_dev.testbed.images import SMALL_IMAGES
from agui_operator.api.policy import Diagnostics
from agui_operator.core.actions import ContainerTemplate, JobDefined, JobTemplate, RevisionStaged, RevisionTemplate
from agui_operator.core.errors import CloudError
from agui_operator.core.names import Names
from agui_operator.core.traffic import Target
from agui_operator.core.words import UNDISCLOSED, Disclosure
from agui_operator.gcp.kinds.run import job as run_job
from agui_operator.gcp.kinds.run import service as run_service
from agui_operator.gcp.transport import operations
from agui_operator.gcp.transport.clients import Cloud
from agui_operator.gcp.transport.outcome import Outcome

pytestmark = pytest.mark.contract

REPOSITORY = "us-central1-docker.pkg.dev/demo/agui"
SIGNED, UNSIGNED = f"{REPOSITORY}/web:v1", f"{REPOSITORY}/task:v1"
LOCALGCP_OPTIONS = ("--catalogue", str(SMALL_IMAGES), "--attested", f"{REPOSITORY}/web")
NAMES = Names("shop", "concierge", "uid-1", "demo", "us-central1")
ACCOUNT = "runtime@demo.iam.gserviceaccount.com"
POLICY = "projects/demo/platforms/cloudRun/signed"
DENIED = "is not authorized by policy"
SHOWN = Disclosure(Diagnostics.MESSAGES)


async def ended(cloud: Cloud, outcome: Outcome) -> Any:
    if outcome.operation is None:
        return outcome.view
    result = await operations.wait(cloud, outcome.operation, 30)
    if result.error is not None:
        raise result.error
    return result.view


async def stage(cloud: Cloud, names: Names, image: str, attested_by: str) -> Any:
    template = RevisionTemplate(names.revision("r1"), "r1", ContainerTemplate(image, ACCOUNT))
    staged = RevisionStaged(template, (Target(names.revision("r1"), 100),))
    return await ended(cloud, await run_service.apply(cloud, names, staged, None, attested_by))


async def define(cloud: Cloud, job: str, image: str, attested_by: str) -> Any:
    template = JobTemplate(job, "r1", ContainerTemplate(image, ACCOUNT))
    return await ended(cloud, await run_job.apply(cloud, NAMES, JobDefined(template), None, attested_by))


@pytest.mark.parametrize("attested_by", ["Default", POLICY])
async def test_an_image_with_an_attestation_starts_and_one_without_does_not(cloud: Cloud, attested_by: str) -> None:
    have = await stage(cloud, NAMES, SIGNED, attested_by)
    assert (have.ready, have.attested_by, have.breakglass) == (True, attested_by, False)
    await define(cloud, "signed", SIGNED, attested_by)
    with pytest.raises(CloudError) as refused:
        await stage(cloud, replace(NAMES, name="other"), UNSIGNED, attested_by)
    assert DENIED in refused.value.told(SHOWN)
    service = await run_service.observe(cloud, replace(NAMES, name="other"))
    assert service is not None
    assert "Binary Authorization does not permit the image" in service.why(UNDISCLOSED)
    with pytest.raises(CloudError) as refused:
        await define(cloud, "unsigned", UNSIGNED, attested_by)
    assert DENIED in refused.value.told(SHOWN)
    job = await run_job.observe(cloud, NAMES, "unsigned")
    assert job is not None
    assert job.execution is not None
    assert job.execution.succeeded is False
    assert DENIED in job.execution.why(SHOWN)
    assert "Binary Authorization does not permit the image" in job.execution.why(UNDISCLOSED)


async def test_where_it_is_not_asked_for_every_image_starts(cloud: Cloud) -> None:
    await define(cloud, "unsigned", UNSIGNED, "")
    assert (await stage(cloud, NAMES, SIGNED, "")).attested_by == ""


async def test_a_broken_glass_lets_it_start_and_is_seen(cloud: Cloud) -> None:
    await stage(cloud, NAMES, SIGNED, "Default")
    broken = {"use_default": True, "breakglass_justification": "in a hurry"}
    await update(cloud, broken)
    have = await run_service.observe(cloud, NAMES)
    assert have is not None
    assert have.breakglass


@pytest.mark.parametrize(
    "setting",
    [
        {"breakglass_justification": "why"},
        {"use_default": False, "breakglass_justification": "why"},
        {"policy": "signed"},
    ],
)
async def test_a_setting_that_means_nothing_is_refused(cloud: Cloud, setting: dict[str, Any]) -> None:
    await stage(cloud, NAMES, SIGNED, "Default")
    with pytest.raises(CloudError, match="binary_authorization") as caught:
        await update(cloud, setting)
    assert caught.value.code == 400


async def update(cloud: Cloud, setting: dict[str, Any]) -> None:
    service = run_v2.Service(name=NAMES.service_path, binary_authorization=setting)
    request = run_v2.UpdateServiceRequest(service=service, update_mask={"paths": ["binary_authorization"]})
    operation = await cloud.rpc("Services.UpdateService", request, NAMES.service_path, write=True)
    if not operation.done:
        await operations.finish(cloud, operation.name)
