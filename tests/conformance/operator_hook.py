"""Commands of an operator, as the kit is given them for a platform it only knows from outside.

Arguments: base URL, operator token, then `start PILE PORT`, `stop SESSION` or `session SESSION`.
"""

import json
import sys
from urllib.parse import urlsplit

import httpx

PREPAID_FEN = 300
CHARGING = {"charging", "stopping"}


def start(http: httpx.Client, pile_id: str, port: str) -> str:
    """Order and pay; the session's id."""
    wish = {"pile_id": pile_id, "port_no": int(port), "amount_fen": PREPAID_FEN}
    ordered = http.post("/api/rider/sessions", json=wish).raise_for_status().json()
    cashier = urlsplit(str(ordered["pay_url"]))
    http.post(cashier._replace(path=f"{cashier.path}/pay").geturl())
    return str(ordered["session_id"])


def stop(http: httpx.Client, session_id: str) -> str:
    """Stop as the rider."""
    http.post(f"/api/rider/sessions/{session_id}/stop").raise_for_status()
    return ""


def session(http: httpx.Client, session_id: str) -> str:
    """What became of it."""
    told = http.get(f"/operator/v1/sessions/{session_id}").raise_for_status().json()
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


def main() -> None:
    """Do what the arguments say."""
    base_url, token, action, *words = sys.argv[1:]
    actions = {"start": start, "stop": stop, "session": session}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=30, trust_env=False) as http:
        sys.stdout.write(actions[action](http, *words))


if __name__ == "__main__":
    main()
