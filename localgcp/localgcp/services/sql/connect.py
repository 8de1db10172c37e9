"""What Cloud SQL's connectors and the Auth Proxy ask before they connect: where an instance is, and a certificate.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/connect
"""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.errors import from_http
from localgcp.kit.interfaces import ACCESS_TOKENS
from localgcp.kit.rest import json_body
from localgcp.kit.schema import checked, without_nulls
from localgcp.services.sql.databases import is_iam_user
from localgcp.services.sql.operations import Json, timestamp
from localgcp.services.sql.parts import POSTGRES, TLS
from localgcp.services.sql.records import Instances, flags_of
from localgcp.services.sql.tls.certificates import BadPublicKey, fingerprint
from localgcp.services.sql.tls.listeners import iam_enabled
from localgcp.services.sql.tls.login import database_role

if TYPE_CHECKING:
    from localgcp.kit.cloud import Cloud

_LONGEST = timedelta(days=1)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class Connect:
    def __init__(self, cloud: Cloud, records: Instances) -> None:
        self._records = records
        self._lifetime = timedelta(seconds=cloud.settings.sql_certificate_seconds)
        self._tls = cloud.part(TLS)
        self._tokens = cloud.part(ACCESS_TOKENS)
        self._postgres = cloud.part(POSTGRES)

    async def settings(self, request: web.Request, call: Call) -> Json:
        """connect.get: addresses, CA and version of an instance, whether it runs or not."""
        record = self._records.of(request)
        project, name = record["project"], record["name"]
        try:
            await self._tls.listen(project, name)
        except OSError as error:
            raise from_http(503, str(error), "backendError") from error
        dns_name = self._tls.dns_name(project, name)
        return {
            "kind": "sql#connectSettings",
            "backendType": record["backendType"],
            "region": record["region"],
            "databaseVersion": record["databaseVersion"],
            "connectionName": record["connectionName"],
            "serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA",
            "serverCaCert": self._server_ca(project, name),
            "ipAddresses": [{"type": "PRIMARY", "ipAddress": self._tls.address(project, name)}],
            "dnsName": dns_name,
            "pscEnabled": False,
        }

    async def generate(self, request: web.Request, call: Call) -> Json:
        """connect.generateEphemeralCert: a client certificate for the caller's key."""
        body = without_nulls(checked("sqladmin", "GenerateEphemeralCertRequest", await json_body(request)))
        record = self._records.of(request, runnable=True)
        if not body.get("public_key"):
            raise from_http(400, "Missing parameter: public_key.", "required")
        lifetime = _lifetime(body["validDuration"]) if "validDuration" in body else self._lifetime
        email = ""
        if token := body.get("access_token"):
            email, remaining = await self._principal(record, token)
            lifetime = min(lifetime, remaining)
        try:
            issued = self._tls.issue(record["project"], record["name"], body["public_key"], lifetime, email)
        except BadPublicKey as error:
            raise from_http(400, f"Invalid value for public_key: {error}.", "invalid", location="public_key") from error
        await self._tls.listen(record["project"], record["name"])
        return {
            "ephemeralCert": {
                "kind": "sql#sslCert",
                "instance": record["name"],
                "cert": issued.pem,
                "certSerialNumber": str(issued.serial),
                "commonName": "Google Cloud SQL Client",
                "createTime": timestamp(issued.created.timestamp()),
                "expirationTime": timestamp(issued.expires.timestamp()),
                "sha1Fingerprint": issued.fingerprint,
            }
        }

    async def _principal(self, record: Json, token: str) -> tuple[str, timedelta]:
        """Whose a token is and how long it lasts. Raises ApiError 400, or 403 for who is no user of the instance."""
        grant = self._tokens.find(token)
        if grant is None:
            raise from_http(400, "The access token is invalid or has expired.", "invalid", location="access_token")
        if not iam_enabled(flags_of(record)):
            message = "IAM authentication is not enabled for the instance: set the flag cloudsql.iam_authentication."
            raise from_http(400, message, "invalid")
        if not await is_iam_user(self._postgres, record["project"], record["name"], database_role(grant.email)):
            message = "The client is not authorized to make this request: no IAM user of this instance."
            raise from_http(403, message, "notAuthorized")
        return grant.email, timedelta(seconds=max(1.0, grant.expires - time.time()))

    def _server_ca(self, project: str, instance: str) -> Json:
        certificate = self._tls.authority(project, instance).certificate
        return {
            "kind": "sql#sslCert",
            "instance": instance,
            "cert": self._tls.authority(project, instance).certificate_pem,
            "certSerialNumber": str(certificate.serial_number),
            "commonName": "C=US,O=Google\\, Inc,CN=Google Cloud SQL Server CA",
            "createTime": timestamp(certificate.not_valid_before_utc.timestamp()),
            "expirationTime": timestamp(certificate.not_valid_after_utc.timestamp()),
            "sha1Fingerprint": fingerprint(certificate),
        }


def _lifetime(text: str) -> timedelta:
    """A google.protobuf.Duration in JSON (`3600s`), at most a day. Raises ApiError 400."""
    match = _DURATION.fullmatch(text)
    if match is None or not 0 < float(match[1]) <= _LONGEST.total_seconds():
        raise from_http(
            400, f"Invalid value for validDuration: {text!r} is not a duration of at most 86400s.", "invalid"
        )
    return timedelta(seconds=float(match[1]))
