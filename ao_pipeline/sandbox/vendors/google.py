"""What Google's APIs share: bearer check, error bodies, the token endpoint."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ao_pipeline.clock import utc_now
from ao_pipeline.sandbox.identity import CLIENT_EMAIL, GOOGLE_TOKEN_SECONDS
from ao_pipeline.sandbox.replies import RefusedError, form_fields, json_reply
from ao_pipeline.sandbox.site import Site, bearer, endpoint

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE: Final = "https://www.googleapis.com/auth/"
AUTHORISED_SCOPES: Final = frozenset(
    _SCOPE + name
    for name in (
        "gmail.readonly",
        "gmail.metadata",
        "calendar.readonly",
        "calendar.events.readonly",
        "calendar.calendarlist.readonly",
        "chat.spaces.readonly",
        "chat.messages.readonly",
        "chat.memberships.readonly",
        "chat.bot",
        "tasks.readonly",
        "contacts.readonly",
        "drive.metadata.readonly",
    )
)
"""Scopes that the domain's administrator granted to the service account."""
_GOOGLE_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""google-auth writes this audience whatever the file's token_uri says."""
_CLOCK_SKEW_SECONDS: Final = 300
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    410: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
}


def google_error(code: int, message: str, reason: str, **more: Any) -> RefusedError:
    """Return Google's refusal; raise it."""
    item = {"message": message, "domain": "global", "reason": reason, **more}
    error: dict[str, Any] = {"code": code, "message": message, "errors": [item]}
    if code in _STATUS:
        error["status"] = _STATUS[code]
    return RefusedError(json_reply({"error": error}, status=code))


def google_caller(site: Site, request: Request, api: str) -> str:
    """Return the user that the bearer token speaks for.

    Raises:
        RefusedError: 401 without a valid token, 403 when its scopes do not reach this API.
    """
    known = site.mint.read(bearer(request), "google")
    if known is None:
        raise google_error(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential.",
            "authError",
            location="Authorization",
            locationType="header",
        )
    subject, scopes = known
    if f"{_SCOPE}{api}." not in scopes:
        raise google_error(403, "Request had insufficient authentication scopes.", "insufficientPermissions")
    return subject


def page_size(request: Request, name: str, *, default: int, cap: int) -> int:
    """Return the page size asked for, cut to the cap as Google does.

    Raises:
        RefusedError: 400 when it is not a number or negative.
    """
    raw = request.query_params.get(name, "")
    if not raw:
        return default
    if not raw.isdigit():
        raise google_error(400, f"Invalid value at '{name}'", "invalidParameter")
    return min(int(raw), cap) or default


async def issue_token(site: Site, request: Request) -> Response:
    """Exchange a signed assertion for an access token, or refuse with the OAuth error that Google gives."""
    form = await form_fields(request)
    if form.get("grant_type") != GRANT:
        return _oauth_error(400, "unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
    claims = site.mint.read_assertion(form.get("assertion", ""))
    if claims is None:
        return _oauth_error(400, "invalid_grant", "Invalid JWT Signature.")
    now = utc_now().timestamp()
    audiences = {_GOOGLE_AUDIENCE, str(request.url)}
    if claims.get("iss") != CLIENT_EMAIL or claims.get("aud") not in audiences:
        return _oauth_error(400, "invalid_grant", "Invalid JWT: iss or aud is not what this endpoint expects.")
    if not (
        float(claims.get("iat", 0)) - _CLOCK_SKEW_SECONDS
        <= now
        < float(claims.get("exp", 0))
        <= now + 3600 + _CLOCK_SKEW_SECONDS
    ):
        return _oauth_error(
            400,
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        )
    scopes = str(claims.get("scope", "")).split()
    if not scopes or not set(scopes) <= AUTHORISED_SCOPES:
        return _oauth_error(
            401,
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of "
            "the scopes requested.",
        )
    subject = str(claims.get("sub", CLIENT_EMAIL))
    people = {member.email for member in site.agency.members if member.is_active}
    if (
        subject not in {*people, *site.options.mailboxes, site.options.google_subject}
        or subject in site.faults.revoked_subjects
    ):
        return _oauth_error(400, "invalid_grant", "Invalid email or User ID")
    token = site.mint.issue("google", subject, seconds=GOOGLE_TOKEN_SECONDS, extra=" ".join(scopes))
    return json_reply({"access_token": token, "expires_in": GOOGLE_TOKEN_SECONDS, "token_type": "Bearer"})


def _oauth_error(status: int, error: str, description: str) -> Response:
    return json_reply({"error": error, "error_description": description}, status=status)


ROUTES: Final = [Route("/google/token", endpoint(issue_token), methods=["POST"])]
