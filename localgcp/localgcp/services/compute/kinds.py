"""Which Compute Engine resources there are, with what the API fills in and checks for each. One table: a kind is a row.

Source: https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localgcp.kit.errors import ApiError, from_http
from localgcp.services.compute.url_map import check_url_map

Json = dict[str, Any]

_NAME_FIELDS = ("kind", "id", "creationTimestamp", "selfLink", "region")


def _nothing(body: Json) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """`collection` is the path segment, `api` the API's name for methods, `schema` the message, `complete` fills in
    what Google does, `check` raises ApiError 400, `setters` maps a custom method to (request message, its field, the
    field that it sets)."""

    collection: str
    api: str
    schema: str
    scope: str = "global"
    updates: tuple[str, ...] = ()
    fingerprint: bool = False
    complete: Callable[[Json], None] = _nothing
    check: Callable[[Json], None] = _nothing
    setters: tuple[tuple[str, str, str, str], ...] = ()
    secret_fields: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        return "compute#" + self.schema[0].lower() + self.schema[1:]

    @property
    def server_fields(self) -> tuple[str, ...]:
        return (*_NAME_FIELDS, "fingerprint") if self.fingerprint else _NAME_FIELDS


def required(field: str) -> ApiError:
    return from_http(400, f"Required field 'resource.{field}' not specified", "required")


def bad_value(field: str, message: str) -> ApiError:
    return from_http(400, f"Invalid value for field 'resource.{field}': {message}", "invalid")


def _complete_bucket(body: Json) -> None:
    body.setdefault("enableCdn", False)
    if body["enableCdn"]:
        body["cdnPolicy"] = _cdn_policy(body.get("cdnPolicy") or {})


def _cdn_policy(policy: Json) -> Json:
    mode = policy.get("cacheMode", "CACHE_ALL_STATIC")
    times = {"defaultTtl": 3600, "clientTtl": 3600}
    if mode == "CACHE_ALL_STATIC":
        times["maxTtl"] = 86400
    if mode == "USE_ORIGIN_HEADERS":
        times = {}
    return {"cacheMode": mode, "requestCoalescing": True, "serveWhileStale": 0, **times, **policy}


def _check_bucket(body: Json) -> None:
    if not body.get("bucketName"):
        raise required("bucketName")
    policy = body.get("cdnPolicy") or {}
    if policy.get("cacheMode") == "USE_ORIGIN_HEADERS" and any(t in policy for t in ("defaultTtl", "maxTtl")):
        raise bad_value("cdnPolicy.defaultTtl", "it must not be set with cacheMode USE_ORIGIN_HEADERS")


def _complete_service(body: Json) -> None:
    defaults = {"protocol": "HTTP", "loadBalancingScheme": "EXTERNAL", "sessionAffinity": "NONE", "timeoutSec": 30}
    for name, value in {**defaults, "port": 80, "enableCDN": False, "connectionDraining": {}}.items():
        body.setdefault(name, value)
    for backend in body.get("backends") or []:
        backend.setdefault("balancingMode", "UTILIZATION")
        backend.setdefault("capacityScaler", 1.0)


def _check_group(body: Json) -> None:
    if body.get("networkEndpointType") != "SERVERLESS":
        raise bad_value("networkEndpointType", "a regional group here is of type SERVERLESS")
    run = body.get("cloudRun") or {}
    if not (run.get("service") or run.get("urlMask")):
        raise required("cloudRun.service")


def _check_proxy(body: Json) -> None:
    if not body.get("urlMap"):
        raise required("urlMap")


def _check_https_proxy(body: Json) -> None:
    _check_proxy(body)
    if not body.get("sslCertificates") and not body.get("certificateMap"):
        raise required("sslCertificates")


def _complete_rule(body: Json) -> None:
    defaults = {"IPProtocol": "TCP", "loadBalancingScheme": "EXTERNAL", "networkTier": "PREMIUM", "ipVersion": "IPV4"}
    for name, value in {**defaults, "portRange": "80", "IPAddress": "127.0.0.1"}.items():
        body.setdefault(name, value)
    if "-" not in body["portRange"]:
        body["portRange"] = f"{body['portRange']}-{body['portRange']}"


def _check_rule(body: Json) -> None:
    if not body.get("target"):
        raise required("target")


def _complete_address(body: Json) -> None:
    body.setdefault("addressType", "EXTERNAL")
    body.setdefault("address", "127.0.0.1")
    body.setdefault("ipVersion", "IPV4")
    body.setdefault("networkTier", "PREMIUM")
    body["status"] = "RESERVED"


def _complete_certificate(body: Json) -> None:
    body.setdefault("type", "MANAGED" if body.get("managed") else "SELF_MANAGED")
    if managed := body.get("managed"):
        domains = managed.get("domains") or []
        body["managed"] = {**managed, "status": "ACTIVE", "domainStatus": dict.fromkeys(domains, "ACTIVE")}


def _check_certificate(body: Json) -> None:
    if not body.get("managed") and not (body.get("certificate") or body.get("selfManaged")):
        raise required("certificate")


_PROXY_SETTER = ("setUrlMap", "UrlMapReference", "urlMap", "urlMap")
KINDS: dict[str, Kind] = {
    kind.collection: kind
    for kind in (
        Kind(
            "backendBuckets",
            "backendBuckets",
            "BackendBucket",
            updates=("patch", "update"),
            complete=_complete_bucket,
            check=_check_bucket,
        ),
        Kind(
            "backendServices",
            "backendServices",
            "BackendService",
            updates=("patch", "update"),
            fingerprint=True,
            complete=_complete_service,
        ),
        Kind(
            "networkEndpointGroups",
            "regionNetworkEndpointGroups",
            "NetworkEndpointGroup",
            scope="region",
            check=_check_group,
        ),
        Kind("urlMaps", "urlMaps", "UrlMap", updates=("patch", "update"), fingerprint=True, check=check_url_map),
        Kind(
            "targetHttpProxies",
            "targetHttpProxies",
            "TargetHttpProxy",
            updates=("patch",),
            fingerprint=True,
            check=_check_proxy,
            setters=(_PROXY_SETTER,),
        ),
        Kind(
            "targetHttpsProxies",
            "targetHttpsProxies",
            "TargetHttpsProxy",
            updates=("patch",),
            fingerprint=True,
            check=_check_https_proxy,
            setters=(
                _PROXY_SETTER,
                (
                    "setSslCertificates",
                    "TargetHttpsProxiesSetSslCertificatesRequest",
                    "sslCertificates",
                    "sslCertificates",
                ),
            ),
        ),
        Kind(
            "forwardingRules",
            "globalForwardingRules",
            "ForwardingRule",
            updates=("patch",),
            fingerprint=True,
            complete=_complete_rule,
            check=_check_rule,
            setters=(("setTarget", "TargetReference", "target", "target"),),
        ),
        Kind("addresses", "globalAddresses", "Address", complete=_complete_address),
        Kind(
            "sslCertificates",
            "sslCertificates",
            "SslCertificate",
            complete=_complete_certificate,
            check=_check_certificate,
            secret_fields=("privateKey",),
        ),
    )
}
