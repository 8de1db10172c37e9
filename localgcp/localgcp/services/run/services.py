"""Cloud Run services: the API. The module `reconcile` applies what they ask for.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#services
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from localgcp.kit.errors import aborted, already_exists, failed_precondition, invalid, not_found
from localgcp.kit.iam import Policies
from localgcp.kit.masks import apply_mask
from localgcp.kit.paging import proto_page
from localgcp.services.run.attestation import check_setting
from localgcp.services.run.container import check_containers, set_container_defaults, set_serving_defaults
from localgcp.services.run.names import PAGE, check_id, check_labels, location_of, normal_name, short
from localgcp.services.run.reconcile import Reconciler
from localgcp.services.run.traffic import check_traffic
from localgcp.services.run.types import GA, INGRESS_ALL, LATEST, ListServicesResponse, Service, now

if TYPE_CHECKING:
    from localgcp.kit.call import Call
    from localgcp.kit.cloud import Cloud

_SETTABLE = (
    "description",
    "labels",
    "annotations",
    "client",
    "client_version",
    "ingress",
    "launch_stage",
    "binary_authorization",
    "template",
    "traffic",
    "scaling",
    "invoker_iam_disabled",
    "default_uri_disabled",
    "iap_enabled",
    "custom_audiences",
)


class Services:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._policies = Policies(cloud)
        self._reconciler = Reconciler(cloud)
        self._table = self._reconciler.services

    async def open(self) -> None:
        await self._reconciler.restore()

    async def reset(self) -> None:
        await self._reconciler.drop_all()

    async def GetService(self, request: Any, call: Call) -> Any:
        return self._found(request.name)

    async def ListServices(self, request: Any, call: Call) -> Any:
        parent = location_of(request.parent, self._cloud.settings)
        found = self._table.values(f"{parent}/services/")
        services, token = proto_page(request, found, lambda service: (service.name,), PAGE)
        return ListServicesResponse(services=services, next_page_token=token)

    async def CreateService(self, request: Any, call: Call) -> Any:
        parent = location_of(request.parent, self._cloud.settings)
        check_id(request.service_id, "Service", "service_id")
        return await self._create(parent, request.service_id, request.service, request.validate_only, call)

    async def UpdateService(self, request: Any, call: Call) -> Any:
        """Replaces all settable fields, or those in `update_mask`. A changed template makes a new revision."""
        name = normal_name(request.service.name, self._cloud.settings, "services")
        before = self._table.get(name)
        if before is None and request.allow_missing:
            parent, _, service_id = name.partition("/services/")
            check_id(service_id, "Service", "service.name")
            return await self._create(parent, service_id, request.service, request.validate_only, call)
        if before is None:
            raise _missing(name)
        if before.HasField("delete_time"):
            raise failed_precondition(f"Resource '{short(name)}' is being deleted.")
        _check_etag(before, request.service.etag)
        after = Service()
        after.CopyFrom(before)
        paths = list(request.update_mask.paths)
        for path in paths:
            if path != "*" and path.partition(".")[0] not in _SETTABLE:
                _check_output_only(path)
        paths = [path for path in paths if path.partition(".")[0] in _SETTABLE or path == "*"]
        apply_mask(after, request.service, _SETTABLE if not request.update_mask.paths or "*" in paths else paths)
        self._complete(after)
        if all(getattr(after, field) == getattr(before, field) for field in _SETTABLE):
            return self._unchanged(before)
        after.generation += 1
        return await self._accept(before, after, request.validate_only, call)

    async def DeleteService(self, request: Any, call: Call) -> Any:
        service = self._found(request.name)
        _check_etag(service, request.etag)
        if request.validate_only:
            return self._unchanged(service)
        service.delete_time.CopyFrom(now())
        service.expire_time.FromNanoseconds(service.delete_time.ToNanoseconds() + 30 * 86400 * 10**9)
        service.reconciling = True
        with self._cloud.store.transaction():
            self._reconciler.save(service)
            operation = self._cloud.operations.begin(
                "run.service.delete",
                service.name.partition("/services/")[0],
                service.name,
                lambda _: self._reconciler.drop(service.name, call),
                service,
            )
        return (await self._cloud.operations.settled(operation)).pb

    async def GetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.get(self._found(request.resource).name)

    async def SetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.set(self._found(request.resource).name, request.policy, call)

    async def TestIamPermissions(self, request: Any, call: Call) -> Any:
        self._found(request.resource)
        return self._policies.test(request.permissions)

    async def _create(self, parent: str, service_id: str, wanted: Any, validate_only: bool, call: Call) -> Any:
        name = f"{parent}/services/{service_id}"
        if self._table.get(name) is not None:
            raise already_exists(f"Resource '{service_id}' already exists.")
        service = Service(name=name, uid=str(uuid.uuid4()), generation=1, create_time=now())
        apply_mask(service, wanted, _SETTABLE)
        service.creator = self._account()
        self._complete(service)
        return await self._accept(None, service, validate_only, call)

    async def _accept(self, before: Any | None, service: Any, validate_only: bool, call: Call) -> Any:
        """Stores the new desired state, with its revision, and starts to make it true."""
        parent = service.name.partition("/services/")[0]
        revision = self._reconciler.revisions.wanted(service, before)
        if validate_only:
            return self._cloud.operations.finished("run.service", parent, service.name, service, service).pb
        service.update_time.CopyFrom(now())
        service.last_modifier = self._account()
        service.reconciling = True
        service.latest_created_revision = revision
        self._reconciler.begin(service)
        fresh = self._reconciler.revisions.get(revision) is None
        with self._cloud.store.transaction():
            if fresh:
                self._reconciler.revisions.create(service, revision)
            self._reconciler.save(service)
            operation = self._cloud.operations.begin(
                "run.service",
                parent,
                service.name,
                lambda _: self._reconciler.reconcile(service.name, service.generation, call),
                service,
            )
        if fresh:
            call.effect("create", revision, service.template.containers[0].image)
        call.effect("create" if before is None else "update", service.name, f"generation {service.generation}")
        return (await self._cloud.operations.settled(operation)).pb

    def _complete(self, service: Any) -> None:
        """Validates the desired state and fills in Cloud Run's defaults. Raises ApiError INVALID_ARGUMENT."""
        if len(service.description) > 512:
            raise invalid("description: at most 512 characters", "description")
        check_labels(service, "")
        template = service.template
        check_labels(template, "template.")
        container = check_containers(template, "template.")
        set_container_defaults(container)
        set_serving_defaults(container)
        scaling = template.scaling
        if scaling.min_instance_count < 0 or scaling.max_instance_count < 0:
            raise invalid("template.scaling: instance counts must not be negative", "template.scaling")
        if 0 < scaling.max_instance_count < scaling.min_instance_count:
            raise invalid("template.scaling: min_instance_count is greater than max_instance_count", "template.scaling")
        if not template.HasField("timeout"):
            template.timeout.FromSeconds(300)
        if not 1 <= template.timeout.ToSeconds() <= 3600:
            raise invalid("template.timeout must be between 1 and 3600 seconds", "template.timeout")
        concurrency = template.max_instance_request_concurrency
        if not 0 <= concurrency <= 1000:
            raise invalid("template.max_instance_request_concurrency must be between 1 and 1000", "template")
        scaling.max_instance_count = scaling.max_instance_count or 100
        template.max_instance_request_concurrency = concurrency or 80
        template.service_account = template.service_account or self._default_account(service.name)
        service.launch_stage = service.launch_stage or GA
        service.ingress = service.ingress or INGRESS_ALL
        check_setting(service.binary_authorization)
        check_traffic(service.traffic, short(service.name))
        if not service.traffic:
            service.traffic.add(type_=LATEST, percent=100)

    def _unchanged(self, service: Any) -> Any:
        parent = service.name.partition("/services/")[0]
        return self._cloud.operations.finished("run.service", parent, service.name, service, service).pb

    def _found(self, name: str) -> Any:
        service = self._table.get(normal_name(name, self._cloud.settings, "services"))
        if service is None:
            raise _missing(name)
        return service

    def _account(self) -> str:
        return f"local@{self._cloud.settings.project}.iam.gserviceaccount.com"

    def _default_account(self, name: str) -> str:
        return f"{self._cloud.settings.number_of(name.split('/')[1])}-compute@developer.gserviceaccount.com"


def _missing(name: str) -> Exception:
    return not_found(f"Resource '{short(name)}' of kind 'SERVICE' in region '{name.split('/')[3]}' does not exist.")


def _check_etag(service: Any, etag: str) -> None:
    if etag and etag != service.etag:
        raise aborted(
            f"Conflict for resource '{short(service.name)}': version '{etag}' was specified but current version is "
            f"'{service.etag}'."
        )


def _check_output_only(path: str) -> None:
    """A mask may name output-only fields (they are left alone) but not fields that do not exist."""
    names = {name for field in Service.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    if path.partition(".")[0] not in names:
        raise invalid(f"Invalid update mask: the field '{path}' does not exist", "update_mask")
