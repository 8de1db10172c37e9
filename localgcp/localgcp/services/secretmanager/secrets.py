"""Secret Manager on Google's messages: secrets, their versions and payloads.

Settings that act later (expiry, rotation, delayed destruction) are refused, because nothing here would apply them.
Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import TYPE_CHECKING, Any

import google_crc32c
from google.cloud import secretmanager_v1
from google.protobuf import empty_pb2

from localgcp.kit.call import Call
from localgcp.kit.errors import already_exists, failed_precondition, invalid, not_found
from localgcp.kit.filters import Comparison, Dialect, matching
from localgcp.kit.iam import Policies
from localgcp.kit.masks import apply_mask
from localgcp.kit.paging import Limits, proto_page
from localgcp.kit.store import etag_of
from localgcp.services.secretmanager.store import (
    DESTROYED,
    DISABLED,
    ENABLED,
    STORE,
    Secret,
    SecretVersion,
)

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NAME = re.compile(r"projects/([^/]+)/secrets/([^/]+)(?:/versions/([^/]+))?")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LARGEST_PAYLOAD = 65_536
_MUTABLE = ("labels", "annotations", "version_aliases")
_ACTS_LATER = ("expire_time", "ttl", "rotation", "topics", "version_destroy_ttl")
_PAGE = Limits(default=25, largest=25_000)

_SecretPage = secretmanager_v1.ListSecretsResponse.pb()
_VersionPage = secretmanager_v1.ListSecretVersionsResponse.pb()
_Access = secretmanager_v1.AccessSecretVersionResponse.pb()


class SecretManager:
    def __init__(self, cloud: Cloud) -> None:
        self._settings = cloud.settings
        self._store = cloud.part(STORE)
        self._policies = Policies(cloud)

    async def CreateSecret(self, request: Any, call: Call) -> Any:
        project = self._project(request.parent)
        if not _ID.fullmatch(request.secret_id):
            raise invalid(f"Secret ID [{request.secret_id}] must match the pattern [{_ID.pattern}].", "secret_id")
        if request.secret.replication.WhichOneof("replication") is None:
            raise invalid("The required field [secret.replication] was not set.", "secret.replication")
        _check(request.secret)
        key = f"{project}/{request.secret_id}"
        name = f"projects/{self._settings.number_of(project)}/secrets/{request.secret_id}"
        if self._store.secrets.get(key) is not None:
            raise already_exists(f"Secret [{name}] already exists.")
        secret = Secret()
        secret.CopyFrom(request.secret)
        secret.name = name
        _now(secret.create_time)
        return self._saved(key, secret, call, "create")

    async def GetSecret(self, request: Any, call: Call) -> Any:
        return self._store.secret(self._key(request.name)[0])

    async def ListSecrets(self, request: Any, call: Call) -> Any:
        """Newest first."""
        secrets = self._store.secrets.values(self._project(request.parent) + "/")
        found = matching(secrets, request.filter, _secret_field, _DIALECT)
        page, token = proto_page(request, found, _newest_first, _PAGE)
        return _SecretPage(secrets=page, next_page_token=token, total_size=len(found))

    async def UpdateSecret(self, request: Any, call: Call) -> Any:
        key = self._key(request.secret.name)[0]
        secret = self._store.secret(key)
        _check_etag(request.secret.etag, secret.etag)
        if not request.update_mask.paths:
            raise invalid("The required field [update_mask] was not set.", "update_mask")
        for path in request.update_mask.paths:
            if path.partition(".")[0] not in (*_MUTABLE, "etag"):
                raise invalid(f"The field [{path}] can't be updated.", "update_mask")
        _check(request.secret)
        wanted = [path for path in request.update_mask.paths if path != "etag"]
        apply_mask(secret, request.secret, wanted)
        for alias, number in secret.version_aliases.items():
            if self._store.versions.get(f"{key}/{number:06}") is None:
                raise invalid(f"The alias [{alias}] names version [{number}], which does not exist.")
        return self._saved(key, secret, call, "update")

    async def DeleteSecret(self, request: Any, call: Call) -> Any:
        key = self._key(request.name)[0]
        secret = self._store.secret(key)
        _check_etag(request.etag, secret.etag)
        self._store.delete(key)
        call.effect("delete", secret.name)
        return empty_pb2.Empty()

    async def AddSecretVersion(self, request: Any, call: Call) -> Any:
        key = self._key(request.parent)[0]
        secret, payload = self._store.secret(key), request.payload
        if len(payload.data) > _LARGEST_PAYLOAD:
            raise invalid(f"Secret Payload can not be larger than {_LARGEST_PAYLOAD} bytes.", "payload.data")
        if not payload.data:
            raise invalid("The required field [payload.data] was not set.", "payload.data")
        checked = payload.HasField("data_crc32c")
        if checked and payload.data_crc32c != _crc32c(payload.data):
            raise invalid("The checksum of the payload does not match its data.", "payload.data_crc32c")
        number = max(self._store.numbers(key), default=0) + 1
        version_key = f"{key}/{number:06}"
        version = SecretVersion(name=f"{secret.name}/versions/{number}", state=ENABLED)
        _now(version.create_time)
        version.client_specified_payload_checksum = checked
        version.replication_status.automatic.SetInParent()
        self._store.write_payload(version_key, payload.data)
        return self._saved_version(version_key, version, call, "create")

    async def GetSecretVersion(self, request: Any, call: Call) -> Any:
        return self._version(request.name)[1]

    async def ListSecretVersions(self, request: Any, call: Call) -> Any:
        key = self._key(request.parent)[0]
        self._store.secret(key)
        found = matching(self._store.versions.values(f"{key}/"), request.filter, _version_field, _DIALECT)
        page, token = proto_page(request, found, lambda version: (-int(_short(version)),), _PAGE)
        return _VersionPage(versions=page, next_page_token=token, total_size=len(found))

    async def AccessSecretVersion(self, request: Any, call: Call) -> Any:
        key, version = self._version(request.name)
        data = self._store.read(key, version)
        return _Access(name=version.name, payload={"data": data, "data_crc32c": _crc32c(data)})

    async def EnableSecretVersion(self, request: Any, call: Call) -> Any:
        return self._with_state(request, call, ENABLED, "enable")

    async def DisableSecretVersion(self, request: Any, call: Call) -> Any:
        return self._with_state(request, call, DISABLED, "disable")

    async def DestroySecretVersion(self, request: Any, call: Call) -> Any:
        return self._with_state(request, call, DESTROYED, "destroy")

    async def GetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.get(self._store.secret(self._key(request.resource)[0]).name)

    async def SetIamPolicy(self, request: Any, call: Call) -> Any:
        return self._policies.set(self._store.secret(self._key(request.resource)[0]).name, request.policy, call)

    async def TestIamPermissions(self, request: Any, call: Call) -> Any:
        self._store.secret(self._key(request.resource)[0])
        return self._policies.test(request.permissions)

    def _with_state(self, request: Any, call: Call, state: int, effect: str) -> Any:
        key, version = self._version(request.name)
        _check_etag(request.etag, version.etag)
        if version.state == DESTROYED:
            raise failed_precondition(f"Secret Version [{version.name}] is in DESTROYED state.")
        version.state = state
        if state == DESTROYED:
            _now(version.destroy_time)
        saved = self._saved_version(key, version, call, effect)
        if state == DESTROYED:  # after its state: a version that is enabled always has its payload
            self._store.remove_payload(key)
        return saved

    def _saved(self, key: str, secret: Any, call: Call, effect: str) -> Any:
        secret.etag = _etag(secret.name, self._store.secrets.version(key) + 1, secret.create_time.ToNanoseconds())
        self._store.secrets.put(key, secret)
        call.effect(effect, secret.name)
        return secret

    def _saved_version(self, key: str, version: Any, call: Call, effect: str) -> Any:
        version.etag = _etag(version.name, self._store.versions.version(key) + 1, version.create_time.ToNanoseconds())
        self._store.versions.put(key, version)
        call.effect(effect, version.name)
        return version

    def _version(self, name: str) -> tuple[str, Any]:
        key, version = self._key(name)
        if not version:
            raise invalid(f"Invalid resource name [{name}]: a secret version was expected.", "name")
        return self._store.version(key, version)

    def _key(self, name: str) -> tuple[str, str]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid resource name [{name}].", "name")
        return f"{self._settings.project_id(match[1])}/{match[2]}", match[3] or ""

    def _project(self, parent: str) -> str:
        kind, _, project = parent.partition("/")
        if kind != "projects" or not project or "/" in project:
            raise not_found(f"Invalid parent [{parent}]: global secrets live in projects/*.")
        return self._settings.project_id(project)


def _check(secret: Any) -> None:
    for field in _ACTS_LATER:
        value = getattr(secret, field)
        if len(value) if field == "topics" else secret.HasField(field):
            raise invalid(f"This local Secret Manager does not have [secret.{field}].", f"secret.{field}")
    for key, value in secret.labels.items():
        if not _LABEL.fullmatch(key) or (value and not re.fullmatch(r"[a-z0-9_-]{1,63}", value)):
            raise invalid(f"Invalid label [{key}={value}].", "secret.labels")


def _check_etag(asked: str, present: str) -> None:
    """Secret Manager answers FAILED_PRECONDITION where others say ABORTED:
    https://cloud.google.com/secret-manager/docs/etags"""
    if asked and asked != present:
        raise failed_precondition("The etag provided in the request does not match the resource's current etag.")


def _etag(*parts: object) -> str:
    return f'"{etag_of(*parts)}"'


def _crc32c(data: bytes) -> int:
    return int(google_crc32c.value(data))


def _now(timestamp: Any) -> None:
    timestamp.FromNanoseconds(time.time_ns())


def _canonical(comparison: Comparison) -> Comparison:
    """`name=db` is about the last part of a name, `name:db` about all of it; states are written in any case."""
    value = comparison.values[0]
    if comparison.selector == "name" and comparison.operator != ":" and "/" not in value:
        return dataclasses.replace(comparison, selector="short_name")
    if comparison.selector == "state":
        if value.upper() not in secretmanager_v1.SecretVersion.State.__members__:
            raise invalid(f"Invalid filter: [{value}] is no state of a secret version.", "filter")
        return dataclasses.replace(comparison, values=(value.upper(),))
    return comparison


# https://cloud.google.com/secret-manager/docs/filtering
_DIALECT = Dialect(ignore_case=True, canonical=_canonical)


def _secret_field(secret: Any, selector: str) -> str | None:
    if selector.startswith("labels."):
        label: str | None = secret.labels.get(selector.removeprefix("labels."))
        return label
    return {"name": str(secret.name), "short_name": _short(secret)}[selector]


def _version_field(version: Any, selector: str) -> str:
    state = str(secretmanager_v1.SecretVersion.State(version.state).name)
    return {"name": str(version.name), "short_name": _short(version), "state": state}[selector]


def _newest_first(secret: Any) -> tuple[int, str]:
    return -secret.create_time.ToNanoseconds(), str(secret.name)


def _short(resource: Any) -> str:
    return str(resource.name).rpartition("/")[2]
