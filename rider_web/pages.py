"""Rendering: templates in the rider's language, and problems as a page or as JSON."""

from functools import cache
from pathlib import Path

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, JSONResponse, Response

from rider_web import assets, languages
from rider_web.languages import ENGLISH, LANGUAGES, Language
from rider_web.problems import Problem

LANGUAGE_KEPT_S = 365 * 24 * 3600

_TEMPLATES = Path(__file__).parent / "templates"
_MACHINE_PATHS = ("/api/", "/operator/", "/rails/", "/device/")


def language_of(request: Request) -> Language:
    """The language a request asks for; programs that do not say get English."""
    if (
        not wants_page(request)
        and "accept-language" not in request.headers
        and "lang" not in request.query_params
    ):
        return ENGLISH
    return languages.choose(
        request.query_params.get("lang"),
        request.cookies.get(languages.COOKIE),
        request.headers.get("accept-language"),
    )


def page(name: str, language: Language, *, status: int = 200, **values: object) -> HTMLResponse:
    """A template as a response."""
    text = _environment(language).get_template(name).render(language=language, languages=LANGUAGES, **values)
    return HTMLResponse(
        text,
        status_code=status,
        headers={"Content-Language": language.code, "Vary": "Accept-Language, Cookie"},
    )


def problem_answer(problem: Problem, request: Request, language: Language) -> Response:
    """A problem the way the caller reads: a page for people, JSON for programs."""
    if wants_page(request):
        return page("error.html", language, status=problem.status, problem=problem)
    return JSONResponse(problem.body, problem.status)


def wants_page(request: Request) -> bool:
    """Whether a person with a browser is asking."""
    return not request.url.path.startswith(_MACHINE_PATHS) and "application/json" not in request.headers.get(
        "accept", "text/html"
    )


def remember_language(request: Request, response: Response) -> None:
    """Keep the language the switch chose."""
    asked = request.query_params.get("lang")
    if any(asked == language.code for language in LANGUAGES) and wants_page(request):
        response.set_cookie(
            languages.COOKIE,
            str(asked),
            max_age=LANGUAGE_KEPT_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.globals["asset"] = assets.url  # pyright: ignore[reportArgumentType] - Jinja types globals too narrowly
    install = getattr(environment, "install_gettext_translations")  # noqa: B009 - added by the extension, unknown to types
    install(language.translations, newstyle=True)
    return environment
