"""From a container in a template to a process: validation, Cloud Run's defaults, and the environment it starts with.

Revisions and tasks of jobs share all of this. What a process cannot have (sidecars, mounted volumes other than Cloud
SQL sockets) is refused with UNIMPLEMENTED instead of being ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from localgcp.kit.errors import ApiError, invalid, unimplemented
from localgcp.kit.interfaces import SECRETS, SQL_SOCKETS, Image, Probe

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_RESERVED_ENV = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
_STARTUP_SECONDS = 240


def check_containers(template: Any, field: str) -> Any:
    """The one container of a template. Raises ApiError INVALID_ARGUMENT or UNIMPLEMENTED."""
    if not template.containers:
        raise invalid(f"{field}containers: at least one container is required", f"{field}containers")
    if len(template.containers) > 1:
        raise unimplemented("localgcp runs one container per instance: sidecar containers are not supported")
    container = template.containers[0]
    if not container.image:
        raise invalid(f"{field}containers[0].image is required", f"{field}containers[0].image")
    names = [variable.name for variable in container.env]
    for name in names:
        if not name or "=" in name:
            raise invalid(f"'{name}' is no name of an environment variable", f"{field}containers[0].env")
        if name in _RESERVED_ENV:
            raise invalid(
                f"The following reserved env names were provided: {name}. "
                "These values are automatically set by the system.",
                f"{field}containers[0].env",
            )
        if names.count(name) > 1:
            raise invalid(f"The environment variable '{name}' is given twice", f"{field}containers[0].env")
    _check_volumes(template, container, field)
    return container


def _check_volumes(template: Any, container: Any, field: str) -> None:
    volumes = {volume.name: volume.WhichOneof("volume_type") for volume in template.volumes}
    for name, kind in volumes.items():
        if kind not in ("cloud_sql_instance", "empty_dir"):
            raise unimplemented(f"localgcp has no {kind or 'such'} volumes (volume '{name}')")
    for mount in container.volume_mounts:
        if mount.name not in volumes:
            raise invalid(f"The volume mount '{mount.name}' names no volume", f"{field}containers[0].volume_mounts")


def set_container_defaults(container: Any) -> None:
    """Fills in what Cloud Run fills in: compare only the fields that you set."""
    limits = container.resources.limits
    if "cpu" not in limits:
        limits["cpu"] = "1000m"
    if "memory" not in limits:
        limits["memory"] = "512Mi"


def set_serving_defaults(container: Any) -> None:
    """Port and startup probe of a container that serves requests."""
    if not container.ports:
        container.ports.add(name="http1", container_port=8080)
    if container.HasField("startup_probe"):
        _set_probe_defaults(container.startup_probe, "startup", container.ports[0].container_port)
    else:
        probe = container.startup_probe
        probe.timeout_seconds = probe.period_seconds = _STARTUP_SECONDS
        probe.failure_threshold = 1
        probe.tcp_socket.port = container.ports[0].container_port
    if container.HasField("liveness_probe"):
        _set_probe_defaults(container.liveness_probe, "liveness", container.ports[0].container_port)


def _set_probe_defaults(probe: Any, kind: str, port: int) -> None:
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.failure_threshold = probe.failure_threshold or 3
    where = f"template.containers[0].{kind}_probe"
    if probe.timeout_seconds > probe.period_seconds:
        raise invalid(f"{where}: timeout_seconds must not be greater than period_seconds", where)
    longest = _STARTUP_SECONDS if kind == "startup" else 3600
    if probe.period_seconds > longest or probe.initial_delay_seconds > longest:
        raise invalid(f"{where}: period_seconds and initial_delay_seconds may be {longest} at most", where)
    match probe.WhichOneof("probe_type"):
        case "http_get":
            probe.http_get.path = probe.http_get.path or "/"
            probe.http_get.port = probe.http_get.port or port
        case "tcp_socket" if kind == "startup":
            probe.tcp_socket.port = probe.tcp_socket.port or port
        case "grpc":
            raise unimplemented(f"localgcp has no gRPC probes ({where})")
        case _:
            raise invalid(f"{where}: a probe needs http_get" + (" or tcp_socket" * (kind == "startup")), where)


def probe_of(container: Any, kind: str) -> Probe | None:
    """A probe as the runtime wants it; None if the container has none."""
    if not container.HasField(kind):
        return None
    probe = getattr(container, kind)
    return Probe(
        path=probe.http_get.path if probe.WhichOneof("probe_type") == "http_get" else None,
        initial_delay=probe.initial_delay_seconds,
        timeout=probe.timeout_seconds,
        period=probe.period_seconds,
        failure_threshold=probe.failure_threshold,
    )


async def environment(cloud: Cloud, project: str, template: Any, image: Image, field: str) -> dict[str, str]:
    """The environment of a container: the image's, then the template's with secrets resolved, then the paths of Cloud
    SQL sockets replaced by the real ones. Raises ApiError when a secret or an instance cannot be had."""
    container = template.containers[0]
    env = dict(image.env)
    for index, variable in enumerate(container.env):
        if variable.WhichOneof("values") == "value_source":
            where = f"{field}containers[0].env[{index}].value_from.secret_key_ref.name"
            env[variable.name] = _secret(cloud, project, variable.value_source.secret_key_ref, where)
        else:
            env[variable.name] = variable.value
    for volume in template.volumes:
        for connection in volume.cloud_sql_instance.instances:
            socket_dir = await _socket_dir(cloud, connection)
            env = {name: value.replace(f"/cloudsql/{connection}", socket_dir) for name, value in env.items()}
    return env


def _secret(cloud: Cloud, project: str, reference: Any, where: str) -> str:
    owner, secret = project, reference.secret
    if secret.startswith("projects/"):
        _, owner, _, secret = secret.split("/", 3)
    try:
        project = cloud.settings.project_id(owner)
        return cloud.part(SECRETS).payload(project, secret, reference.version or "latest").decode()
    except ApiError as error:
        raise ApiError(error.code, f"{where}: {error.message}", "SECRETS_ACCESS_CHECK_FAILED") from error
    except UnicodeDecodeError as error:
        raise invalid(f"{where}: the payload of secret {secret} is not UTF-8 text") from error


async def _socket_dir(cloud: Cloud, connection: str) -> str:
    try:
        project, _, instance = connection.split(":")
    except ValueError as error:
        raise invalid(f"'{connection}' is no Cloud SQL connection name (project:region:instance)") from error
    try:
        return str(await cloud.part(SQL_SOCKETS).socket_dir(project, instance))
    except (ApiError, KeyError) as error:
        raise ApiError(
            grpc.StatusCode.FAILED_PRECONDITION, f"The Cloud SQL instance {connection} does not exist or is not running"
        ) from error
