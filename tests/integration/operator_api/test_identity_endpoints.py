"""A pile's identity in the operator's hands: states with their audit, conflicts, parents and new secrets."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from charging import enrolment, identity_conflicts
from charging.identity_conflicts import ConflictKind
from tests.integration.rider_web.street_house import VAULT
from tests.integration.rider_web.street_stand import NOON, PILE, StreetStand

WHO = {"by": "Li Hua", "reason": "stolen from the yard"}


def order(stand: StreetStand, word: str, *, pile_id: str = PILE) -> httpx.Response:
    return stand.operator.post(f"/piles/{pile_id}/{word}", json=WHO)


def state(stand: StreetStand) -> tuple[str, bool]:
    pile = stand.operator.get(f"/piles/{PILE}").json()
    return pile["state"], pile["online"]


def changes(stand: StreetStand, **params: Any) -> dict[str, Any]:
    return stand.operator.get(f"/piles/{PILE}/state-changes", params=params).json()


def conflicts(stand: StreetStand, **params: Any) -> dict[str, Any]:
    return stand.operator.get(f"/piles/{PILE}/identity-conflicts", params=params).json()


def see_conflict(stand: StreetStand, *, at: datetime) -> None:
    with stand.pool.connection() as conn:
        identity_conflicts.observed(
            conn,
            pile_id=PILE,
            kind=ConflictKind.DUPLICATE_IDENTITY,
            observations=3,
            detail={"boot": 7},
            episode=timedelta(minutes=10),
            now=at,
        )


def test_a_quarantined_pile_is_offline_and_comes_back_where_it_was(stand: StreetStand) -> None:
    assert state(stand) == ("active", True)
    assert order(stand, "quarantine").json() == {"pile_id": PILE, "state": "quarantined", "changed": True}
    assert state(stand) == ("quarantined", False)
    assert order(stand, "quarantine").json()["changed"] is False
    assert order(stand, "release").json()["state"] == "active"
    assert state(stand)[0] == "active"


def test_a_pile_quarantined_before_it_ever_booted_is_released_as_provisioned(stand: StreetStand) -> None:
    with stand.pool.connection() as conn:
        enrolment.provision(
            conn,
            VAULT,
            pile_id="YQ-02",
            secret=b"s" * 32,
            certificate_serial="a1",
            certificate_expires_at=NOON + timedelta(days=365),
            now=NOON,
        )
    order(stand, "quarantine", pile_id="YQ-02")
    assert order(stand, "release", pile_id="YQ-02").json()["state"] == "provisioned"


def test_revocation_is_for_good_and_takes_secrets_and_codes_with_it(stand: StreetStand) -> None:
    assert order(stand, "revoke").json()["changed"] is True
    assert state(stand) == ("revoked", False)
    for word in ("release", "quarantine"):
        refused = order(stand, word)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "transition_refused")
    with stand.pool.connection() as conn:
        assert enrolment.secrets_of(conn, VAULT, PILE) == []
    claim = stand.operator.post(f"/piles/{PILE}/claims")
    assert (claim.status_code, claim.json()["error"]["code"]) == (404, "pile_unknown")


def test_a_pile_that_never_enrolled_cannot_be_quarantined(stand: StreetStand) -> None:
    assert order(stand, "quarantine", pile_id="YQ-02").status_code == 409


def test_every_change_is_audited_with_who_why_from_and_to(stand: StreetStand) -> None:
    order(stand, "quarantine")
    order(stand, "release")
    seen = [
        (change["from_state"], change["to_state"], change["changed_by"])
        for change in changes(stand)["changes"]
    ]
    assert seen[:2] == [("quarantined", "active", "Li Hua"), ("active", "quarantined", "Li Hua")]
    assert seen[-1] == (None, "manufactured", "system")
    assert ("manufactured", "provisioned", "pile") in seen
    assert changes(stand)["changes"][0]["reason"] == "stolen from the yard"


def test_the_audit_pages_and_each_line_comes_once(stand: StreetStand) -> None:
    order(stand, "quarantine")
    order(stand, "release")
    whole = [change["change_id"] for change in changes(stand)["changes"]]
    paged: list[int] = []
    cursor = None
    while True:
        page = changes(stand, limit=2, **({"cursor": cursor} if cursor else {}))
        paged += [change["change_id"] for change in page["changes"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == whole
    assert changes(stand, cursor="nonsense")["error"]["code"] == "cursor_invalid"


@pytest.mark.parametrize("body", [{}, {"by": "Li"}, {"by": "", "reason": "x"}, {"by": "Li", "reason": ""}])
def test_nobody_changes_a_state_without_name_and_reason(body: dict[str, str], stand: StreetStand) -> None:
    assert stand.operator.post(f"/piles/{PILE}/revoke", json=body).status_code == 422
    assert state(stand)[0] == "active"


def test_an_unknown_pile_has_no_state_to_change(stand: StreetStand) -> None:
    for word in ("quarantine", "release", "revoke"):
        assert order(stand, word, pile_id="XX-99").json()["error"]["code"] == "pile_unknown"


def test_conflicts_are_shown_with_their_numbers(stand: StreetStand) -> None:
    for _ in range(2):
        see_conflict(stand, at=NOON)
    [shown] = conflicts(stand)["conflicts"]
    assert (shown["kind"], shown["observations"], shown["detail"]) == ("duplicate_identity", 6, {"boot": 7})


def test_conflicts_page_and_each_comes_once(stand: StreetStand) -> None:
    for hour in range(3):
        see_conflict(stand, at=NOON + timedelta(hours=hour))
    whole = [conflict["conflict_id"] for conflict in conflicts(stand)["conflicts"]]
    first = conflicts(stand, limit=2)
    rest = conflicts(stand, limit=2, cursor=first["next_cursor"])
    assert len(whole) == 3
    assert [conflict["conflict_id"] for conflict in first["conflicts"] + rest["conflicts"]] == whole
    assert rest["next_cursor"] is None


def test_a_rotation_is_ordered_without_showing_the_secret(stand: StreetStand) -> None:
    response = stand.operator.post(f"/piles/{PILE}/key-rotation")
    assert response.status_code == 202
    assert response.json()["body"] == {"epoch": 2}
    with stand.pool.connection() as conn:
        offered, used = enrolment.secrets_of(conn, VAULT, PILE)
        kept = str(conn.execute("SELECT body FROM command WHERE kind = 'key_rotate'").fetchall())
    assert (offered.epoch, offered.in_use, used.in_use) == (2, False, True)
    assert offered.secret.hex() not in response.text + kept


def test_a_pile_is_registered_behind_a_host_of_its_site(stand: StreetStand) -> None:
    new = {
        "pile_id": "YQ-01-A",
        "site_id": "yuquan",
        "model": "PW-2",
        "port_count": 2,
        "power_limit_w": 2000,
        "parent_pile_id": PILE,
    }
    answer = stand.operator.post("/piles", json=new)
    assert (answer.status_code, answer.json()["pile"]["parent_pile_id"]) == (201, PILE)
    for unfit in ({"parent_pile_id": "YQ-01-A"}, {"parent_pile_id": "XX-99"}, {"site_id": "wutong"}):
        refused = stand.operator.post("/piles", json=new | {"pile_id": "YQ-01-B"} | unfit)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "parent_unfit")
