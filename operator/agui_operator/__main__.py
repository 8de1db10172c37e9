"""Command line of the operator: run, plan, lint, wait, init, crd."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from agui_operator.engine.sources import Source


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agui-operator")
def main() -> None:
    """Releases AG-UI agent applications on Google Cloud, and rolls them back as one unit."""


@main.command()
@click.option("--log-level", default="info", show_default=True, envvar="AGUI_LOG_LEVEL")
@click.option("--log-format", type=click.Choice(["json", "text"]), default="json", show_default=True)
def run(log_level: str, log_format: str) -> None:
    """Runs the operator against the cluster of the current login.

    Settings come from the environment; AGUI_GCP_ENDPOINT=http://host:port makes it talk to localgcp instead of
    Google Cloud.
    """
    from agui_operator.engine import log
    from agui_operator.engine.settings import SettingInvalid, from_environment
    from agui_operator.handlers.serve import run as serve

    try:
        settings = from_environment()
        log.configure(log_level, human=log_format == "text")
        serve(settings)
    except SettingInvalid as exc:
        raise click.ClickException(str(exc)) from exc


_FILES = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True), metavar="FILE|FOLDER|-..."
)


@main.command()
@_FILES
@click.option("--offline", is_flag=True, help="Ask neither the cluster nor Google Cloud; no credentials are needed.")
def plan(files: tuple[str, ...], offline: bool) -> None:
    """Prints what applying the manifests would do in Google Cloud, in order. Changes nothing.

    The live object and its environment come from the cluster of the current login, and need no right beyond reading
    them in their namespace. --offline plans a first release from the files alone. Exits 1 where a release cannot go.
    """
    import asyncio

    from agui_operator.core.errors import CloudError, ClusterError, UserError
    from agui_operator.engine.settings import SettingInvalid, from_environment
    from agui_operator.engine.sources import read_sources
    from agui_operator.handlers.preview import plan as plan_documents

    sources = read_sources(files)
    findings, _ = _findings(sources)
    if findings:
        _fail(findings)
    try:
        planned = asyncio.run(plan_documents(from_environment(), sources, offline=offline))
    except (SettingInvalid, UserError, CloudError, ClusterError, ConnectionError) as exc:
        raise click.ClickException(str(exc)) from exc
    for line in planned.lines:
        click.echo(line)
    sys.exit(0 if planned.possible else 1)


@main.command()
@_FILES
def lint(files: tuple[str, ...]) -> None:
    """Checks manifests without a cluster: schema, rules and references. Exits 1 on any finding.

    Takes files, folders and - for standard input, each with any number of documents.
    """
    from agui_operator.engine.sources import read_sources

    sources = read_sources(files)
    findings, passed_over = _findings(sources)
    for note in passed_over:
        click.echo(note, err=True)
    if findings:
        _fail(findings)
    click.echo(f"{len(sources)} file{'s' if len(sources) != 1 else ''} checked, no problems")


def _findings(sources: Sequence[Source]) -> tuple[list[str], tuple[str, ...]]:
    """What is wrong with the texts, and what was passed over in them."""
    from agui_operator.api.lint import lint
    from agui_operator.engine.deployment.preview import conflicts_of

    found = lint((source.name, source.text) for source in sources)
    unreadable = [f"{source.name}: {source.error}" for source in sources if source.error]
    findings = [*unreadable, *found.findings]
    if not findings and not found.ours:
        findings.append("no AgUiDeployment, AgUiEnvironment or AgUiPolicy in these files; correct apiVersion")
    if not findings:
        findings += conflicts_of(source.text for source in sources)
    return findings, found.passed_over


def _fail(findings: Sequence[str]) -> NoReturn:
    for finding in findings:
        click.echo(finding)
    sys.exit(1)


@main.command()
@click.argument("name")
@click.option("-n", "--namespace", help="Namespace; default: that of the kubeconfig's context.")
@click.option("--timeout", default="45m", show_default=True, help="Longest wait, such as 90s, 30m or 1h30m.")
def wait(name: str, namespace: str | None, timeout: str) -> None:
    """Waits until the rollout of AgUiDeployment NAME has ended.

    Exit codes: 0 the release that the spec asks for is healthy and stable; 1 it was rolled back, or it is invalid,
    forbidden, deleted or needs another action of a user; 2 the time is over (a pause or a freeze lasts).

    \b
    kubectl apply -f release.yaml
    agui-operator wait concierge -n demo --timeout 30m
    """
    import asyncio

    from pydantic_core import PydanticCustomError

    from agui_operator.api.base import parse_duration
    from agui_operator.core.errors import ClusterError
    from agui_operator.core.outcome import Exit
    from agui_operator.handlers.wait import wait as follow

    try:
        seconds = parse_duration(timeout).total_seconds()
    except PydanticCustomError as exc:
        raise click.BadParameter(str(exc), param_hint="--timeout") from exc
    try:
        outcome = asyncio.run(follow(name, namespace, seconds, click.echo))
    except (ClusterError, ConnectionError) as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{name}: {outcome.message}", err=outcome.exit is not Exit.HEALTHY)
    sys.exit(int(outcome.exit))


@main.command()
@click.option("--project", required=True, help="Google Cloud project.")
@click.option("--region", required=True, help="Region of Cloud Run and Cloud SQL.")
@click.option("--domain", required=True, help="Host name of the application; http://host:port for local use.")
@click.option("--environment", "name", default="demo", show_default=True, help="Name of the environment.")
@click.option("--namespace", default="demo", show_default=True, help="Namespace of the printed AgUiEnvironment.")
@click.option(
    "--service",
    default="demo-concierge-u7ne4j4vhm",
    show_default=True,
    help="Cloud Run service behind the load balancer.",
)
def init(**new: str) -> None:
    """Creates what a new environment stands on, and prints its AgUiEnvironment. Repeating it changes nothing.

    A Cloud SQL instance with a database and a user, a secret with its password, two buckets, a load balancer and a
    notification channel. AGUI_GCP_ENDPOINT=http://host:port creates them in localgcp instead of Google Cloud.
    """
    import asyncio

    from agui_operator.core.errors import CloudError, UserError
    from agui_operator.core.provisioning.resources import NewEnvironment
    from agui_operator.engine.environment.create import create
    from agui_operator.engine.settings import SettingInvalid, from_environment

    try:
        click.echo(asyncio.run(create(from_environment().endpoint, NewEnvironment(**new))), nl=False)
    except (SettingInvalid, UserError, CloudError, TimeoutError) as exc:
        raise click.ClickException(str(exc)) from exc


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if the generated files are not up to date.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default=True)
def crd(check: bool, root: Path) -> None:
    """Writes crds/ and the API reference from the models."""
    from agui_operator.api import generate

    if not check:
        for path in generate.write(root):
            click.echo(f"wrote {path}")
        return
    drift = generate.check(root)
    for line in drift:
        click.echo(line)
    if drift:
        sys.exit(1)


if __name__ == "__main__":
    main()
