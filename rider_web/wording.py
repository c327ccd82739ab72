"""States, causes and reasons in words a rider understands. English here; the catalogue has the Chinese."""

from types import MappingProxyType

from rider_web.languages import mark

PORT_TITLES = MappingProxyType(
    {
        "free": mark("Free, ready to charge"),
        "busy": mark("In use"),
        "by_code": mark("Starts with a code"),
        "offline": mark("Offline"),
        "fault": mark("Out of order"),
        "disabled": mark("Out of service"),
        "over_power": mark("Pile fully loaded"),
        "safety": mark("Locked for safety"),
        "starts_kept_failing": mark("Out of service"),
        "no_price": mark("No price yet"),
    }
)
"""A socket's condition by our own word for it."""

PORT_ADVICE = MappingProxyType(
    {
        "free": mark("Choose an amount, pay, then plug in."),
        "by_code": mark(
            "This pile has no connection right now. Pay here, and you get a code to type in at the pile."
        ),
        "busy": mark("Somebody is charging here. Please take another socket of this pile."),
        "offline": mark(
            "This pile has no connection right now, so it cannot start. Please try another pile."
        ),
        "fault": mark("This socket reports a fault and cannot be used. Please take another one."),
        "disabled": mark("The operator has taken this socket out of service. Please take another one."),
        "over_power": mark(
            "This pile is at its power limit. It can start again as soon as another bike is full."
        ),
        "safety": mark(
            "After a safety alarm nothing can start here until somebody has looked at it. Please do not touch it."
        ),
        "starts_kept_failing": mark(
            "Charging failed to start here several times, so this socket waits for a check. Please take another one."
        ),
        "no_price": mark(
            "The operator has not published a price for this place, so nothing can be sold here."
        ),
    }
)

START_FAILURES = MappingProxyType(
    {
        "pile_offline": mark("The pile has lost its connection."),
        "pile_out_of_service": mark("The operator has taken this pile out of service."),
        "port_busy": mark("Somebody else was faster: the socket is in use."),
        "port_fault": mark("The socket reports a fault."),
        "pile_over_power": mark("The pile is at its power limit; another bike must finish first."),
        "pile_locked": mark("The pile is locked after a safety alarm until somebody has looked at it."),
        "port_locked": mark("The socket is locked after a safety alarm until somebody has looked at it."),
        "alarm_lasts": mark("The pile has switched off for safety; it starts again when the alarm is over."),
        "starts_kept_failing": mark(
            "Charging failed to start here several times, so the socket waits for a check."
        ),
        "not_cleared": mark("The socket is locked after a safety alarm until somebody has looked at it."),
        "refused_by_pile": mark("The pile refused to start."),
        "no_answer": mark("The pile did not answer in time."),
        "code_unused": mark("The code was not used."),
        "no_load": mark("No charger was plugged in in time."),
        "not_plugged": mark("No charger was plugged in in time."),
        "plug_wait_over": mark("No charger was plugged in in time."),
        "short_circuit": mark("The pile found a short circuit at the plug."),
        "smoke": mark("The pile's smoke alarm is on."),
        "over_voltage": mark("The mains voltage is too high."),
        "under_voltage": mark("The mains voltage is too low."),
        "relay_welded": mark("The socket's switch is defective."),
        "relay_dead_or_fuse": mark("The socket's switch or fuse is defective."),
    }
)
"""Why a start failed; the money goes back whole."""

STOP_REASONS = MappingProxyType(
    {
        "full": mark("Battery full"),
        "max_time": mark("Longest charging time reached"),
        "preset_time": mark("Chosen time reached"),
        "preset_energy": mark("Chosen energy reached"),
        "preset_money": mark("Prepaid amount used up"),
        "balance_used": mark("Prepaid amount used up"),
        "user_stop_app": mark("Stopped by you"),
        "user_stop_card": mark("Stopped by card"),
        "user_stop_button": mark("Stopped at the pile's button"),
        "unplugged": mark("Plug was pulled"),
        "unplugged_suspect": mark("Plug was pulled, or its spring is stuck"),
        "no_load": mark("No charger was plugged in"),
        "no_power_midway": mark("Power to the charger was interrupted"),
        "port_over_power": mark("The charger drew more power than the socket allows"),
        "pile_over_power": mark("The pile reached its power limit"),
        "dynamic_overload": mark("Power rose suddenly; stopped for safety"),
        "over_current": mark("Current too high; stopped for safety"),
        "short_circuit": mark("Short circuit; stopped for safety"),
        "leakage": mark("Leakage current; stopped for safety"),
        "over_voltage": mark("Mains voltage too high"),
        "under_voltage": mark("Mains voltage too low"),
        "port_over_temp": mark("Socket too hot; stopped for safety"),
        "ambient_over_temp": mark("Pile too hot; stopped for safety"),
        "smoke": mark("Smoke alarm; stopped for safety"),
        "fire_suppression_own_port": mark("Fire protection released; stopped for safety"),
        "fire_suppression_other_port": mark("Fire protection released; stopped for safety"),
        "water": mark("Water alarm; stopped for safety"),
        "low_power_timeout": mark("Power stayed very low for too long"),
        "relay_welded": mark("The socket's switch is defective"),
        "relay_dead_or_fuse": mark("The socket's switch or fuse is defective"),
        "meter_fault": mark("The socket's meter is defective"),
        "storage_fault": mark("The pile's memory is defective"),
        "platform_stop": mark("Stopped by the platform"),
        "admin_force": mark("Stopped by the operator"),
        "power_loss": mark("Power failure at the pile"),
        "reboot": mark("The pile restarted"),
        "offline_timeout": mark("The pile was without connection for too long"),
        "tariff_missing": mark("No price was set for this place"),
        "door_open": mark("The cabinet door was opened"),
        "settlement_missing": mark("The pile never told how the charge ended"),
        "unknown": mark("Stopped by the pile"),
    }
)

FEE_KINDS = MappingProxyType(
    {
        "electricity": mark("Electricity"),
        "service": mark("Service fee"),
        "occupancy": mark("Occupancy fee"),
    }
)

REFUND_CAUSES = MappingProxyType(
    {
        "unused_prepayment": mark("Unused prepayment"),
        "start_failed": mark("Charging could not start"),
        "paid_too_late": mark("Paid after the order had expired"),
    }
)

PHASES = MappingProxyType(
    {
        "waiting_payment": (
            mark("Waiting for your payment"),
            mark("As soon as it arrives, the socket switches on."),
        ),
        "starting": (
            mark("Starting"),
            mark("Payment received. The pile is switching on socket %(port_no)s."),
        ),
        "plug_in": (
            mark("Please plug in"),
            mark("Socket %(port_no)s is on. Charging starts once it feels your charger."),
        ),
        "enter_code": (
            mark("Type in your code"),
            mark(
                "Paid. Pile and platform have no connection right now, so the code starts socket %(port_no)s."
            ),
        ),
        "code_lapsed": (
            mark("The code has ended"),
            mark(
                "If it was not used, everything goes back: as soon as the pile is connected again, "
                "at the latest within a day."
            ),
        ),
        "charging": (mark("Charging"), mark("It stops by itself when the battery is full.")),
        "topping_up": (mark("Almost full"), mark("The battery is full and is being topped up gently.")),
        "finishing": (mark("Stopping"), mark("The pile is switching off and sends the final reading.")),
        "settling": (
            mark("Working out your bill"),
            mark("The final reading is on its way. This takes a moment."),
        ),
        "refunding": (mark("Finished"), mark("Unused money is on its way back to you.")),
        "done": (mark("Finished"), mark("All done. Have a good ride.")),
        "failed_refunding": (
            mark("Could not start"),
            mark("You pay nothing. The whole amount is on its way back to you."),
        ),
        "failed": (mark("Could not start"), mark("You paid nothing. The whole amount has been returned.")),
        "cancelled": (mark("Not paid"), mark("The order has expired. Nothing was taken from you.")),
    }
)
"""Title and explanation of each phase the session page knows."""
