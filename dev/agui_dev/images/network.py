"""How this machine reaches its package indexes, handed to a build without becoming part of the image.

Proxies go in as the build arguments that every builder knows and none records; certificates and the settings of pip,
uv and npm are mounted while a RUN lasts. So a private index, and a password in its address, stay on this machine.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
CERTIFICATES = Path("/etc/ssl/certs")
PIP_SETTINGS = (Path("/etc/pip.conf"), Path("~/.config/pip/pip.conf"), Path("~/.pip/pip.conf"))
NPM_SETTINGS = Path("~/.npmrc")


def build_options(scratch: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Options of `buildah build`. Writes the settings files to mount into `scratch`."""
    options = []
    for name in PROXIES:
        for spelling in (name, name.lower()):
            if environ.get(spelling):
                # without a value, so that none stands in the list of processes: buildah takes it from its environment
                options += ["--build-arg", spelling]
    options += _mount(CERTIFICATES, str(CERTIFICATES))
    if address := index_address(environ):
        pip, uv = scratch / "pip.conf", scratch / "uv.toml"
        pip.write_text(f"[global]\nindex-url = {address}\n")
        uv.write_text(f'[[index]]\nurl = "{address}"\ndefault = true\n')
        options += _mount(pip, "/etc/pip.conf") + _mount(uv, "/etc/uv/uv.toml")
    npm = scratch / "npmrc"
    npm.write_text(npm_settings(environ))
    return options + _mount(npm, "/root/.npmrc")


def npm_settings(environ: Mapping[str, str] = os.environ) -> str:
    """The caller's own `.npmrc`, and this machine's certificates: Node.js alone would trust only its built-in ones."""
    named = environ.get("NPM_CONFIG_USERCONFIG") or environ.get("npm_config_userconfig")
    path = Path(named) if named else NPM_SETTINGS.expanduser()
    own = path.read_text() if path.is_file() else ""
    bundle = CERTIFICATES / "ca-certificates.crt"
    return f"{own.rstrip()}\ncafile={bundle}\n" if bundle.exists() and "cafile=" not in own else own


def index_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """The Python package index this machine is told to use, or None where the tools' own default is meant."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if address := environ.get(name):
            return address
    named = environ.get("PIP_CONFIG_FILE")
    for path in (Path(named),) if named else PIP_SETTINGS:
        settings = configparser.RawConfigParser()
        try:
            settings.read(path.expanduser())
        except configparser.Error:
            continue
        if address := settings.get("global", "index-url", fallback=""):
            return address
    return None


def _mount(source: Path, target: str) -> list[str]:
    return ["--volume", f"{source}:{target}:ro"] if source.exists() else []
