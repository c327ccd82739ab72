"""Commands of an operator, as the kit is given them for a platform it only knows from outside.

Arguments: base URL, operator token, the name of a function of `ACTIONS`, then what that takes.
"""

import json
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

PREPAID_FEN: Final = 300
CHARGING: Final = {"charging", "stopping"}
NOT_TAKEN: Final = 3
OPERATOR: Final = "/operator/v1"
LOOK: Final = {"by": "Li", "reason": "conformance"}
CODE_LIMIT_S: Final = 20.0
POLL_S: Final = 0.02


def start(http: httpx.Client, pile_id: str, port: str) -> str:
    """Order and pay; the session's id. Ends with 3 where the order is not taken."""
    wish = {"pile_id": pile_id, "port_no": int(port), "amount_fen": PREPAID_FEN}
    answer = http.post("/api/rider/sessions", json=wish)
    if answer.status_code == HTTPStatus.CONFLICT:
        sys.exit(NOT_TAKEN)
    ordered = answer.raise_for_status().json()
    cashier = urlsplit(str(ordered["pay_url"]))
    http.post(cashier._replace(path=f"{cashier.path}/pay").geturl())
    return str(ordered["session_id"])


def stop(http: httpx.Client, session_id: str) -> str:
    """Stop as the rider."""
    http.post(f"/api/rider/sessions/{session_id}/stop").raise_for_status()
    return ""


def session(http: httpx.Client, session_id: str) -> str:
    """What became of it."""
    told = _get(http, f"/sessions/{session_id}")
    charge = told["charge"]
    facts = {
        "failed": told["state"] == "failed",
        "charging": told["state"] in CHARGING,
        "over": told["closed_at"] is not None,
        "energy_dwh": None if told["energy_wh"] is None else round(told["energy_wh"] * 10),
        "prepaid_fen": told["prepaid_fen"],
        "charged_fen": None if charge is None else charge["charged_fen"],
        "refund_fen": sum(each["amount_fen"] for each in told["refunds"] if each["state"] == "succeeded"),
    }
    return json.dumps(facts)


def online(http: httpx.Client, pile_id: str) -> str:
    """Whether the platform holds it to be online."""
    return json.dumps(_get(http, f"/piles/{pile_id}")["online"])


def code(http: httpx.Client, pile_id: str, port: str) -> str:
    """Order and pay at a pile that is away, until a payment is in time for its code; the digits."""
    deadline_s = time.monotonic() + CODE_LIMIT_S
    while time.monotonic() < deadline_s:
        session_id = start(http, pile_id, port)
        state = "created"
        while state in ("created", "paid", "awaiting_code"):
            told = http.get(f"/api/rider/sessions/{session_id}").raise_for_status().json()
            if told["start_code"] is not None:
                return str(told["start_code"]["digits"])
            state = told["state"]
            time.sleep(POLL_S)
    raise SystemExit("no payment was in time for its code")


def card(http: httpx.Client, pile_id: str, number: str) -> str:
    """Register it at the pile's site."""
    site_id = _get(http, f"/piles/{pile_id}")["site_id"]
    _post(http, "/cards", {"site_id": site_id, "number": number, "label": "conformance"})
    return ""


def clear(http: httpx.Client, pile_id: str) -> str:
    """Lift every lock of a pile."""
    for lock in _get(http, f"/piles/{pile_id}")["locks"]:
        _post(http, f"/locks/{lock['lock_id']}/lift", LOOK)
    return ""


def firmware(http: httpx.Client, pile_id: str, image: str, manifest: str) -> str:
    """Upload a release and roll it out to one pile, which may be silent for a fortnight."""
    parts = {"manifest": Path(manifest).read_text()}
    with Path(image).open("rb") as file:
        answer = http.post(f"{OPERATOR}/firmware/releases", data=parts, files={"image": file})
    release = answer.raise_for_status().json()
    plan = {"release_id": release["release_id"], "pile_ids": [pile_id], "stages_percent": [100]}
    _post(http, "/firmware/rollouts", {**plan, "patience_s": 14 * 86_400})
    return ""


def update(http: httpx.Client, pile_id: str) -> str:
    """What the newest rollout with the pile says of it."""
    for rollout in _get(http, "/firmware/rollouts")["rollouts"]:
        for part in _get(http, f"/firmware/rollouts/{rollout['rollout_id']}/piles")["piles"]:
            if part["pile_id"] == pile_id:
                ends = {name: part["state"] == name for name in ("done", "failed")}
                return json.dumps({**ends, "error": part["error"]})
    raise SystemExit(f"no update of {pile_id}")


def child(http: httpx.Client, pile_id: str) -> str:
    """Register a pile like its host behind it; its id, code and number of ports."""
    host = _get(http, f"/piles/{pile_id}")
    alike = {name: host[name] for name in ("site_id", "model", "power_limit_w")}
    port_count = len(host["ports"])
    new = {"pile_id": f"C-{uuid4()}", "parent_pile_id": pile_id, "port_count": port_count, **alike}
    claim = _post(http, "/piles", new)["claim"]
    return f"{claim['pile_id']}, {claim['claim_code']}, {port_count}"


ACTIONS: Final[dict[str, Callable[..., str]]] = {
    each.__name__: each for each in (start, stop, session, online, code, card, clear, firmware, update, child)
}


def main() -> None:
    """Do what the arguments say."""
    base_url, token, action, *words = sys.argv[1:]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=30, trust_env=False) as http:
        sys.stdout.write(ACTIONS[action](http, *words))


def _get(http: httpx.Client, path: str) -> Any:
    return http.get(f"{OPERATOR}{path}").raise_for_status().json()


def _post(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return http.post(f"{OPERATOR}{path}", json=body).raise_for_status().json()


if __name__ == "__main__":
    main()
