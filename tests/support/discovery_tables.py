"""Makes localgcp's field tables from Google's discovery documents (bundled with google-api-python-client).

`python tests/support/discovery_tables.py` writes localgcp/localgcp/kit/rest_schemas.json; a contract test
compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import googleapiclient

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
TABLES = Path(__file__).parents[2] / "localgcp/localgcp/kit/rest_schemas.json"
ROOTS = {
    "compute": (
        "compute.v1.json",
        "Address BackendBucket BackendService CacheInvalidationRule ForwardingRule NetworkEndpointGroup SslCertificate"
        " TargetHttpProxy TargetHttpsProxy TargetHttpsProxiesSetSslCertificatesRequest TargetReference UrlMap"
        " UrlMapReference UrlMapsValidateRequest",
    ),
    "sqladmin": (
        "sqladmin.v1.json",
        "BackupRun Database DatabaseInstance InstancesCloneRequest InstancesRestoreBackupRequest User"
        " GenerateEphemeralCertRequest",
    ),
    "storage": ("storage.v1.json", "Bucket ComposeRequest Object Policy"),
}


def tables() -> dict[str, dict[str, dict[str, str]]]:
    """API -> message -> field -> type (see localgcp.kit.schema for the spelling of types)."""
    return {api: _closure(document, roots.split()) for api, (document, roots) in ROOTS.items()}


def render(made: dict[str, dict[str, dict[str, str]]]) -> str:
    lines = []
    for api, messages in made.items():
        rows = [f"  {json.dumps(name)}: {json.dumps(messages[name], sort_keys=True)}" for name in sorted(messages)]
        lines.append(f" {json.dumps(api)}: {{\n" + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _closure(document: str, roots: list[str]) -> dict[str, dict[str, str]]:
    schemas = json.loads((DOCUMENTS / document).read_text())["schemas"]
    found: dict[str, dict[str, str]] = {}
    todo = [(name, schemas[name]) for name in roots]

    def spell(path: str, schema: dict[str, Any]) -> str:
        if name := schema.get("$ref"):
            todo.append((name, schemas[name]))
            return f"ref {name}"
        kind = schema.get("type", "any")
        if kind == "array":
            return f"list {spell(path, schema['items'])}"
        if kind == "object" and "properties" in schema:
            todo.append((path, schema))
            return f"ref {path}"
        if kind == "object":
            return f"map {spell(path, schema.get('additionalProperties', {'type': 'any'}))}"
        if kind == "string" and "enum" in schema:
            return "enum " + "|".join(schema["enum"])
        return "int64" if schema.get("format") in ("int64", "uint64") else str(kind)

    while todo:
        name, schema = todo.pop()
        if name not in found:
            found[name] = {}
            for field, value in schema.get("properties", {}).items():
                found[name][field] = spell(f"{name}.{field}", value)
    return found


if __name__ == "__main__":
    TABLES.write_text(render(tables()))
