"""The route class of this package: expected failures become answers, and every answer gets its headers."""

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from psycopg import OperationalError
from psycopg_pool import PoolTimeout, TooManyRequests
from starlette.responses import Response

from rider_web import pages, problems
from rider_web.languages import Language
from rider_web.problems import Problem
from rider_web.security import SecurityHeaders

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

log = structlog.get_logger()


def guarded_route(headers: SecurityHeaders) -> type[APIRoute]:
    """A route class whose answers carry `headers`."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                language = pages.language_of(request)
                try:
                    response = await handle(request)
                except problems.EXPECTED as error:
                    response = pages.problem_answer(problems.of_error(error, language), request, language)
                except RequestValidationError as error:
                    response = pages.problem_answer(_invalid(error, request, language), request, language)
                except (OperationalError, PoolTimeout, TooManyRequests) as error:
                    log.warning("rider_request_without_database", path=self.path, error=type(error).__name__)
                    response = pages.problem_answer(problems.broken(language, 503), request, language)
                    response.headers["Retry-After"] = "3"
                headers.add_to(response)
                pages.remember_language(request, response)
                return response

            return guarded

    return GuardedRoute


def _invalid(error: RequestValidationError, request: Request, language: Language) -> Problem:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]]
    if pages.wants_page(request):
        return problems.damaged_address(language, field=place[-1] if place else "")
    if first["type"] == "json_invalid":
        return problems.invalid(language, field=None, reason=f"not JSON: {first['ctx']['error']}", status=400)
    return problems.invalid(language, field=".".join(place) or None, reason=str(first["msg"]))
