"""The command line: serve a local cloud, and ask or tell a running one."""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import click

from localgcp.cli.client import RequestFailed, ask, read_token

_ENDPOINT = click.option(
    "--endpoint",
    envvar="LOCALGCP_ENDPOINT",
    default="http://127.0.0.1:8085",
    show_default=True,
    help="A running cloud.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A local Google Cloud: Google's own protocols in front, real processes and a real PostgreSQL behind."""


@main.command()
@click.option("--port", default=8085, show_default=True, help="Port of all APIs; 0 takes a free one.")
@click.option("--edge-port", default=8086, show_default=True, help="Port of run URLs and load balancer; 0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; see --expose for others.")
@click.option("--expose", is_flag=True, help="Allow a --host that others reach. They can run commands on this machine.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Also answer requests for this host, such as host.docker.internal; may be repeated.",
)
@click.option(
    "--allow-origin",
    "allow_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Also answer web pages of this origin, such as http://127.0.0.1:3000; may be repeated.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".localgcp"),
    show_default=True,
    help="All durable state; a cloud started on it again continues from there.",
)
@click.option(
    "--catalogue", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Image catalogue (YAML)."
)
@click.option(
    "--attested",
    multiple=True,
    metavar="IMAGE",
    help="Repository, or repository@digest, that Binary Authorization lets start; may be repeated [all].",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Written when all ports are served.",
)
@click.option("--project", default="demo", show_default=True)
@click.option("--region", default="us-central1", show_default=True)
@click.option("--lro-seconds", default=0.3, show_default=True, help="Minimum duration of an operation.")
@click.option("--traffic-propagation-seconds", default=0.0, show_default=True)
@click.option("--url-map-propagation-seconds", default=0.0, show_default=True)
@click.option("--metric-delay-seconds", default=0.0, show_default=True)
@click.option("--metric-period-seconds", default=1.0, show_default=True)
@click.option("--idle-seconds", default=60.0, show_default=True, help="Time after which an idle instance stops.")
@click.option("--max-instances", default=4, show_default=True, help="Maximum number of instances of one revision.")
@click.option(
    "--sql-certificate-seconds", default=3600.0, show_default=True, help="Validity of Cloud SQL client certificates."
)
@click.option("--metadata-email", default="", help="Service account of the metadata server [runtime@<project>...].")
@click.option("--engine", type=click.Choice(["process"]), default="process", show_default=True)
def serve(**options: Any) -> None:
    """Serve a local cloud until SIGTERM or Ctrl-C; prints one JSON line when ready."""
    from localgcp.cli.serve import run

    try:
        sys.exit(run(**options))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@main.command()
@_ENDPOINT
def status(endpoint: str) -> None:
    """Show ports, services, instances and open operations."""
    _print(_ask(endpoint, "GET", "status"))


@main.command()
@_ENDPOINT
def reset(endpoint: str) -> None:
    """Empty the running cloud: all resources, instances and faults. The ledger stays."""
    _print(_ask(endpoint, "POST", "reset"))


@main.command()
@_ENDPOINT
@click.option("--since", default=0, help="Only entries with a greater `seq`.")
@click.option("--kind", type=click.Choice(["call", "effect"]))
@click.option("--method", help='Glob over methods, such as "Services.*" or "storage.objects.*".')
@click.option("--resource", help="Substring of the resource.")
@click.option("--writes", is_flag=True, help="Only calls that may change something.")
@click.option("--limit", default=0, help="Only the newest N entries.")
def ledger(endpoint: str, since: int, writes: bool, limit: int, **filters: str | None) -> None:
    """Print calls and effects, oldest first, one JSON object per line."""
    query = {"since": str(since), "limit": str(limit), **{k: v for k, v in filters.items() if v}}
    if writes:
        query["write"] = "true"
    for entry in _ask(endpoint, "GET", "ledger?" + urllib.parse.urlencode(query))["entries"]:
        click.echo(json.dumps(entry, separators=(",", ":")))


@main.group(invoke_without_command=True)
@_ENDPOINT
@click.pass_context
def faults(context: click.Context, endpoint: str) -> None:
    """List active faults; `faults add` and `faults clear` change them."""
    context.obj = endpoint
    if context.invoked_subcommand is None:
        _print(_ask(endpoint, "GET", "faults"))


@faults.command("add")
@click.option("--method", default="*", show_default=True, help='Glob, such as "Services.UpdateService".')
@click.option("--when", type=click.Choice(["before", "after"]), default="before", show_default=True)
@click.option("--count", default=1, show_default=True, help="How many calls; 0: all from now on.")
@click.option("--skip", default=0, show_default=True, help="Number of matching calls that pass first.")
@click.option("--code", default="", help='google.rpc.Code such as "UNAVAILABLE", or an HTTP status.')
@click.option("--message", default="injected fault", show_default=True)
@click.option("--delay-ms", default=0.0, help="Delay of the call.")
@click.option("--match", default="", help="Substring of the resource.")
@click.option("--kill-pid", default=0, help="SIGKILL this process.")
@click.option("--hang", is_flag=True, help="Never answer.")
@click.option("--writes-only", is_flag=True)
@click.pass_obj
def add_fault(endpoint: str, /, **rule: Any) -> None:
    """Make calls fail, wait or lose their reply, before or after they take effect."""
    _print(_ask(endpoint, "POST", "faults", rule))


@faults.command("clear")
@click.pass_obj
def clear_faults(endpoint: str, /) -> None:
    """Remove all rules."""
    _print(_ask(endpoint, "DELETE", "faults"))


@main.command()
@_ENDPOINT
@click.option("--environment", default="demo", show_default=True, help="Name of the environment.")
@click.option("--namespace", default="demo", show_default=True, help="Namespace of the printed AgUiEnvironment.")
@click.option(
    "--service",
    default="demo-concierge-u7ne4j4vhm",
    show_default=True,
    help="Cloud Run service behind the load balancer.",
)
@click.option("--domain", default="", help="Public origin to print; default: the local edge.")
def init(endpoint: str, **plan: str) -> None:
    """Create the resources of an environment and print its AgUiEnvironment. Running it again changes nothing."""
    from localgcp.cli.init import InitError, Plan, create_environment

    try:
        click.echo(create_environment(endpoint, Plan(**plan)), nl=False)
    except InitError as error:
        raise click.ClickException(str(error)) from error


def _ask(endpoint: str, method: str, path: str, body: Any = None) -> Any:
    try:
        token = "" if method == "GET" else read_token(endpoint, os.environ.get("LOCALGCP_TOKEN_FILE", ""))
        return ask(endpoint, method, f"/_localgcp/{path}", body, token=token)
    except RequestFailed as error:
        raise click.ClickException(str(error)) from error


def _print(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))
