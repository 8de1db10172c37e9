"""Containers of Cloud Run revisions and jobs as protobuf messages; both kinds are made from the same template.

Source: https://cloud.google.com/run/docs/reference/rpc/google.cloud.run.v2#container
"""

from __future__ import annotations

from typing import Any

from agui_operator.core.actions import ContainerTemplate, HttpProbe

_SQL_VOLUME = "cloudsql"
_RELEASE_ENV = "AGUI_RELEASE"


def container(template: ContainerTemplate, release: str, **extra: Any) -> Any:
    """run_v2.Container; the order of variables is stable, so that equal templates are equal messages."""
    from google.cloud import run_v2

    mounts = [run_v2.VolumeMount(name=_SQL_VOLUME, mount_path="/cloudsql")] if template.sql_instances else []
    return run_v2.Container(
        image=template.image,
        command=list(template.command),
        args=list(template.args),
        env=_environment(template, release),
        volume_mounts=mounts,
        **extra,
    )


def limits(template: ContainerTemplate) -> dict[str, str]:
    """Resource limits by name."""
    return {"cpu": template.cpu, "memory": template.memory}


def volumes(template: ContainerTemplate) -> list[Any]:
    """The volume below which the Cloud SQL sockets are: /cloudsql/<project>:<region>:<instance>."""
    from google.cloud import run_v2

    if not template.sql_instances:
        return []
    source = run_v2.CloudSqlInstance(instances=list(template.sql_instances))
    return [run_v2.Volume(name=_SQL_VOLUME, cloud_sql_instance=source)]


def probe(wanted: HttpProbe | None, port: int) -> Any:
    """run_v2.Probe, or None for Cloud Run's default."""
    from google.cloud import run_v2

    if wanted is None:
        return None
    return run_v2.Probe(
        initial_delay_seconds=wanted.initial_delay,
        period_seconds=wanted.period,
        timeout_seconds=wanted.timeout,
        failure_threshold=wanted.failure_threshold,
        http_get=run_v2.HTTPGetAction(path=wanted.path, port=port),
    )


def same_container(want: Any, have: Any) -> bool:
    """True if a container runs what is wanted. Only what we set is compared: Cloud Run fills in the rest."""
    for field in ("image", "command", "args"):
        if getattr(want, field) != getattr(have, field):
            return False
    wanted_limits = dict(want.resources.limits)
    return _variables(want) == _variables(have) and wanted_limits.items() <= dict(have.resources.limits).items()


def _variables(box: Any) -> dict[str, tuple[str, str, str]]:
    """By name: value, secret and version."""
    return {
        e.name: (e.value, e.value_source.secret_key_ref.secret, e.value_source.secret_key_ref.version) for e in box.env
    }


def _environment(template: ContainerTemplate, release: str) -> list[Any]:
    from google.cloud import run_v2

    plain = {**template.env, _RELEASE_ENV: release}
    variables = [run_v2.EnvVar(name=name, value=plain[name]) for name in sorted(plain)]
    for secret in sorted(template.secrets, key=lambda s: s.env):
        reference = run_v2.SecretKeySelector(secret=secret.secret, version=secret.version)
        source = run_v2.EnvVarSource(secret_key_ref=reference)
        variables.append(run_v2.EnvVar(name=secret.env, value_source=source))
    return variables


def binary_authorization(attested_by: str) -> Any:
    """As Cloud Run has it: `Default` is the policy of the project, anything else the name of one; None: not sent."""
    if not attested_by:
        return None
    return {"use_default": True} if attested_by == "Default" else {"policy": attested_by}
