"""Secrets that nobody else has, and every form in which one of them may turn up."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

MARK = "canary7f3a"
"""Part of every made-up secret, so that a finding is recognised at a glance."""


@dataclass
class Canaries:
    """Named secrets. The made-up ones are set by the test; what upstreams issue is added as it is seen."""

    asana_token: str = f"1/1200:{MARK}AsanaTokenQ8w2"
    xero_client_id: str = "haunted-xero-client"
    xero_client_secret: str = f"{MARK}XeroSecret+/=Zk41"
    webhook_token: str = f"{MARK}WebhookToken-_xP9"
    state_password: str = f"{MARK}StatePasswordT5y"
    more: dict[str, str] = field(default_factory=dict)

    def add_private_key(self, pem: str) -> None:
        """Take each line of a key: a leak may hold a part of it."""
        lines = [line for line in pem.splitlines() if not line.startswith("-----") and len(line) == 64]
        assert len(lines) > 10, "the service account has no RSA key"
        self.more |= {f"private key, line {number}": line for number, line in enumerate(lines)}

    def add_authorization(self, header: str) -> None:
        """Take what stands behind the scheme of an Authorization header."""
        self.more[f"credential {len(self.more)} that was sent"] = header.partition(" ")[2] or header

    def patterns(self) -> dict[bytes, str]:
        """Return every form to search for, with the name of its secret."""
        named = {
            "Asana token": self.asana_token,
            "Xero secret": self.xero_client_secret,
            "webhook token": self.webhook_token,
            "state store's password": self.state_password,
            **self.more,
        }
        return {form: name for name, secret in named.items() for form in _forms(secret)}


def _forms(secret: str) -> set[bytes]:
    plain = secret.encode()
    texts = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }
    # Where a secret starts inside a longer text decides its base64 form; the first and last digits depend on neighbours.
    shifted = {base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)}
    return {text.encode() for text in texts} | shifted | {plain.hex().encode()}
