"""Tokens that the sandbox issues and checks, and the Google service account that it accepts.

Access tokens are signed, not stored, so they survive a restart as a vendor's would. Their times are the machine's:
a frozen or advanced world does not expire them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ao_pipeline.clock import utc_now
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.replies import decode_token, encode_token

GOOGLE_TOKEN_SECONDS: Final = 3599
XERO_TOKEN_SECONDS: Final = 1800
CLIENT_EMAIL: Final = "collector@sandbox-project.iam.example"
_KEY_BITS: Final = 2048
_KNOWN_TOKENS: Final = 1000
"""Checked tokens kept; beyond it they are checked again."""
_JWT_PARTS: Final = 3


class TokenMint:
    """Issue and read signed tokens; hold the service account's public key once it is loaded."""

    def __init__(self, options: SandboxOptions) -> None:
        self._secret = hashlib.sha256(f"sandbox-{options.seed}-{options.xero_client_secret}".encode()).digest()
        self._known: dict[tuple[str, str], list[Any]] = {}
        self.public_key: rsa.RSAPublicKey | None = None

    def issue(self, kind: str, subject: str, *, seconds: int, extra: str = "") -> str:
        """Return a token that says who it is for and until when."""
        issued = int(utc_now().timestamp())
        payload = encode_token(kind, subject, issued + seconds, extra)
        return f"{payload}.{self._sign(payload)}"

    def read(self, token: str, kind: str) -> tuple[str, str] | None:
        """Return a valid token's subject and extra text, or None."""
        values = self._known.get((kind, token))
        if values is None:
            payload, _, signature = token.partition(".")
            if not hmac.compare_digest(signature, self._sign(payload)):
                return None
            values = decode_token(payload, kind, str, int, str)
            if values is None:
                return None
            if len(self._known) >= _KNOWN_TOKENS:
                self._known.clear()
            self._known[kind, token] = values
        subject, expires, extra = values
        if expires <= utc_now().timestamp():
            return None
        return subject, extra

    def _sign(self, payload: str) -> str:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()[:32]

    def read_assertion(self, assertion: str) -> dict[str, Any] | None:
        """Return the claims of a JWT that the service account's key signed with RS256, or None."""
        parts = assertion.split(".")
        if len(parts) != _JWT_PARTS or self.public_key is None:
            return None
        try:
            header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
            if json.loads(header).get("alg") != "RS256":
                return None
            signed = f"{parts[0]}.{parts[1]}".encode()
            self.public_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            body = json.loads(claims)
        except (ValueError, binascii.Error, InvalidSignature, AttributeError):
            return None
        return body if isinstance(body, dict) else None


def load_service_account(path: Path, *, token_uri: str) -> tuple[dict[str, str], rsa.RSAPublicKey, bool]:
    """Return the service account at `path`, made when missing or unreadable.

    Returns:
        The file's body with `token_uri` set, the public key, and whether the body differs from the file.
    """
    known: dict[str, str] = {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        key = serialization.load_pem_private_key(
            known["private_key"].encode(),
            password=None,
            # The file is our own; validating a key costs a tenth of a second at each start.
            unsafe_skip_rsa_key_validation=True,
        )
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("not an RSA key")  # noqa: TRY301 - answered like a file that cannot be read: by a new key.
    except (OSError, ValueError, KeyError, TypeError):
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    body = {
        "type": "service_account",
        "project_id": "sandbox-project",
        "private_key_id": hashlib.sha256(pem.encode()).hexdigest()[:40],
        "private_key": pem,
        "client_email": CLIENT_EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }
    return body, key.public_key(), body != known
