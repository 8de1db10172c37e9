"""An OpenID Connect issuer on the loopback interface: an application that it is named to verifies its tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

AUDIENCE, CHECK_AUDIENCE = "shop", "https://shop.example"
CHECK_ACCOUNT = "operator@ops.iam.gserviceaccount.com"


class TokenIssuer:
    """Signs tokens; `settings` make an application believe them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AGUI_IDENTITY": "oidc",
            "AGUI_IDENTITY_AUDIENCE": AUDIENCE,
            "AGUI_IDENTITY_ISSUER": self.url,
            "AGUI_CUSTOMER_CLAIM": "customer",
            "AGUI_CHECK_ACCOUNTS": CHECK_ACCOUNT,
            "AGUI_CHECK_AUDIENCE": CHECK_AUDIENCE,
            "AGUI_CHECK_CUSTOMER": "acme-hotels",
            "AGUI_CHECK_ISSUER": self.url,
            "AGUI_CHECK_KEYS_URL": f"{self.url}/keys",
        }

    def token(self, **claims: Any) -> str:
        base = {"iss": self.url, "aud": AUDIENCE, "exp": int(time.time()) + 600}
        return jwt.encode({"alg": "ES256", "kid": "k1"}, base | claims, self.key)

    def user(self, name: str, customer: str = "") -> dict[str, str]:
        """Headers of a user."""
        claims = {"customer": customer} if customer else {}
        return {"Authorization": f"Bearer {self.token(sub=name, **claims)}"}

    def check(self, account: str = CHECK_ACCOUNT) -> dict[str, str]:
        """Headers of a release check."""
        claims = {"aud": CHECK_AUDIENCE, "sub": "1", "email": account, "email_verified": True}
        return {"X-Agui-Check-Authorization": f"Bearer {self.token(**claims)}", "X-Agui-Synthetic": "smoke"}


@contextmanager
def token_issuer() -> Iterator[TokenIssuer]:
    """An issuer that answers until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer: dict[str, Any] = {"jwks_uri": f"{issuer.url}/keys"}
            if self.path == "/keys":
                answer = {"keys": [issuer.key.as_dict(private=False)]}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = TokenIssuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
