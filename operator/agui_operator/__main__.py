"""Command line of the operator: run, plan, init, lint, crd."""

from __future__ import annotations

import sys
from pathlib import Path

import click


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


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--offline", is_flag=True, help="Do not ask the cluster: environment and policy must be in the files.")
def plan(files: tuple[Path, ...], offline: bool) -> None:
    """Prints what applying the manifests would do in Google Cloud, in order. Changes nothing.

    The live object, its environment and the policies come from the cluster of the current login, unless --offline.
    """
    import asyncio

    import yaml

    from agui_operator.api.parse import SpecInvalid
    from agui_operator.core.errors import CloudError, UserError
    from agui_operator.engine.settings import SettingInvalid, from_environment
    from agui_operator.handlers.preview import plan as plan_documents

    documents = [d for file in files for d in yaml.safe_load_all(file.read_text()) if isinstance(d, dict)]
    try:
        lines = asyncio.run(plan_documents(from_environment(), documents, cluster=not offline))
    except (SettingInvalid, SpecInvalid, UserError, CloudError, ConnectionError) as exc:
        raise click.ClickException(str(exc)) from exc
    for line in lines:
        click.echo(line)


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
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def lint(files: tuple[Path, ...]) -> None:
    """Checks manifests without a cluster: schema, rules and references. Exits 1 on any finding."""
    from agui_operator.api.lint import lint_documents
    from agui_operator.engine.deployment.preview import conflicts_of

    texts = {str(file): file.read_text() for file in files}
    findings: list[object] = [finding for name, text in texts.items() for finding in lint_documents(text, name)]
    if not findings:
        findings += conflicts_of(texts.values())
    for finding in findings:
        click.echo(finding)
    if findings:
        sys.exit(1)
    click.echo(f"{len(files)} file(s): no findings")


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
