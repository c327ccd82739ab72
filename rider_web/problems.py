"""Expected failures as answers: one table from error to status, code and words for riders.

The JSON form is {"error": {"code", "message", "field"}}; pages show the same words with what to do next.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from billing.errors import (
    AgreementMissing,
    PaymentConflict,
    RailRefused,
    RailUnavailable,
    RailUnknown,
    TariffMissing,
)
from charging.errors import (
    AmountBuysNothing,
    AmountRefused,
    PileUnknown,
    PortUnavailable,
    PortUnknown,
    SessionUnknown,
)
from rider_web import formats
from rider_web.languages import Language, mark
from rider_web.wording import START_FAILURES

PILE_ID_PATTERN = "^[A-Za-z0-9_-]+$"


class ErrorDetail(BaseModel):
    """What was wrong."""

    code: str = Field(description="A machine word that never changes")
    message: str = Field(description="What was wrong, in the language asked for")
    field: str | None = Field(description="Which field or parameter, where one is to blame")


class ErrorBody(BaseModel):
    """Every refusal has this form."""

    error: ErrorDetail


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody, "description": "No such pile, socket or session"},
    409: {"model": ErrorBody, "description": "The socket cannot start now; `code` says why"},
    422: {"model": ErrorBody, "description": "A parameter or field is wrong; `field` names it"},
    503: {"model": ErrorBody, "description": "Payment channel, price or database is missing right now"},
}
"""What the JSON endpoints may answer besides success."""


@dataclass(frozen=True)
class AmountUnreadable(Exception):
    """What the rider typed is not an amount of money."""

    typed: str


@dataclass(frozen=True)
class Problem:
    """One failure as a rider meets it; `sign` is the large mark on the error page."""

    status: int
    code: str
    title: str
    explanation: str
    field: str | None = None
    steps: tuple[str, ...] = ()
    sign: str = "!"
    retry: str | None = None

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON form."""
        return {"error": {"code": self.code, "message": self.explanation, "field": self.field}}


EXPECTED = (
    PileUnknown,
    PortUnknown,
    SessionUnknown,
    PortUnavailable,
    AmountRefused,
    AmountUnreadable,
    TariffMissing,
    AgreementMissing,
    AmountBuysNothing,
    RailUnavailable,
    RailRefused,
    PaymentConflict,
    RailUnknown,
)
"""What `of_error` has words for."""


def of_error(error: Exception, language: Language) -> Problem:
    """The problem behind an expected error. Raises it again if it is none of EXPECTED."""
    say = language.say
    match error:
        case PileUnknown(pile_id=pile_id):
            return _unknown_code(
                say(mark("There is no charging pile “%(pile_id)s”."), pile_id=pile_id), language, "pile_id"
            )
        case PortUnknown(pile_id=pile_id, port_no=port_no):
            words = say(mark("Pile %(pile_id)s has no socket %(port_no)s."), pile_id=pile_id, port_no=port_no)
            return _unknown_code(words, language, "port_no")
        case SessionUnknown():
            return _no_session(language)
        case PortUnavailable(cause=cause):
            title = say(mark("This socket cannot start now"))
            return Problem(
                409, str(cause), title, say(START_FAILURES.get(cause, START_FAILURES["refused_by_pile"]))
            )
        case RailUnknown():
            return Problem(
                404, "rail_unknown", say(mark("Not found")), say(mark("There is nothing under this address."))
            )
        case _:
            return _of_order(error, language)


def page_missing(language: Language) -> Problem:
    """An address nothing answers to."""
    say = language.say
    return Problem(
        404,
        "not_found",
        say(mark("Page not found")),
        say(mark("There is nothing under this address.")),
        steps=(say(mark("To charge, scan the code on a socket with your phone.")),),
        sign="?",
    )


def invalid(language: Language, *, field: str | None, reason: str, status: int = 422) -> Problem:
    """A request that cannot be read; `reason` says what is wrong with `field`."""
    return Problem(
        status, "invalid_request", language.say(mark("That could not be read")), reason, field=field
    )


def damaged_address(language: Language, *, field: str) -> Problem:
    """A page address whose part `field` cannot be what it should be, from a bad scan or a typing error."""
    if field == "session_id":
        return _no_session(language)
    if field in ("pile_id", "port_no"):
        words = language.say(mark("The address in the code is not complete, or was damaged."))
        return _unknown_code(words, language, field)
    return of_error(AmountUnreadable(""), language)


def wrong_method(language: Language) -> Problem:
    """The address exists but not for this method."""
    words = language.say(mark("This address does not take that kind of request."))
    return Problem(405, "method_not_allowed", language.say(mark("Not possible here")), words)


def too_many(language: Language) -> Problem:
    """No room for another live connection; polling still works."""
    words = language.say(
        mark("Too many live connections right now; the page asks from time to time instead.")
    )
    return Problem(429, "live_full", language.say(mark("Busy")), words)


def broken(language: Language, status: int = 500) -> Problem:
    """Something of ours failed; a charge under way is not affected."""
    say = language.say
    return Problem(
        status,
        "internal_error" if status == 500 else "unavailable",
        say(mark("Something went wrong on our side")),
        say(
            mark(
                "A charge that is running goes on, and unused money still comes back. Please try again in a moment."
            )
        ),
    )


def _of_order(error: Exception, language: Language) -> Problem:
    """What keeps an order from being placed."""
    say = language.say
    match error:
        case AmountRefused(least_fen=least_fen, most_fen=most_fen):
            words = say(
                mark("Please choose an amount from ¥%(least)s to ¥%(most)s."),
                least=formats.yuan(least_fen),
                most=formats.yuan_short(most_fen),
            )
            return Problem(
                422, "amount_refused", say(mark("That amount is not possible")), words, field="amount_fen"
            )
        case AmountUnreadable():
            words = say(mark("Please enter an amount in yuan, such as 2.50."))
            return Problem(
                422, "amount_unreadable", say(mark("That amount is not possible")), words, field="amount"
            )
        case TariffMissing() | AgreementMissing():
            words = say(
                mark("The operator has not published a price for this place, so nothing can be sold here.")
            )
            return Problem(503, "price_missing", say(mark("No price here yet")), words)
        case AmountBuysNothing():
            words = say(mark("That amount is too small for the price here; please choose a little more."))
            return Problem(
                422,
                "amount_buys_nothing",
                say(mark("That amount is not possible")),
                words,
                field="amount_fen",
            )
        case RailUnavailable() | RailRefused() | PaymentConflict():
            words = say(
                mark("The payment channel does not answer right now. Nothing was paid; please try again.")
            )
            return Problem(503, "payment_unavailable", say(mark("Payment is not reachable")), words)
        case _:
            raise error


def _unknown_code(explanation: str, language: Language, field: str) -> Problem:
    say = language.say
    return Problem(
        404,
        "pile_unknown" if field == "pile_id" else "port_unknown",
        say(mark("We do not know this code")),
        explanation,
        field=field,
        steps=(
            say(mark("Scan the code on the socket again, in good light and close up.")),
            say(
                mark(
                    "Check that nobody stuck another label over it; pay only on pages you reached from the socket."
                )
            ),
            say(
                mark(
                    "If it still fails, take another socket and tell the operator the number printed on the pile."
                )
            ),
        ),
        sign="?",
    )


def _no_session(language: Language) -> Problem:
    say = language.say
    return Problem(
        404,
        "session_unknown",
        say(mark("No such order")),
        say(mark("There is no charge under this address.")),
        field="session_id",
        steps=(
            say(mark("Check that the address is complete, or open it again from your payment message.")),
            say(mark("To start a new charge, scan the code on a socket.")),
        ),
        sign="?",
    )
