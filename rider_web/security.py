"""Headers every rider page and answer carries."""

from collections.abc import Sequence

from starlette.responses import Response


class SecurityHeaders:
    """Sets the same strict headers on every response; nothing inline runs and nothing foreign loads."""

    def __init__(self, payment_origins: Sequence[str]) -> None:
        """`payment_origins`: where the payment form may lead besides https, such as http://127.0.0.1:9000."""
        # A browser checks form-action along the redirect to the rail too.
        leads_to = " ".join(["'self'", "https:", *payment_origins])
        self._policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            f"form-action {leads_to}; base-uri 'none'; frame-ancestors 'none'"
        )

    def add_to(self, response: Response) -> None:
        """Put the headers on `response`."""
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        # A session's address is all it takes to stop it, so no other site may learn it.
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        response.headers.setdefault("Cache-Control", "no-store")
