"""What people are told about safety, in two languages: parties about the pile, riders about their charge. Pure."""

from typing import NamedTuple

from charging.alarm_kinds import RULES, AlarmKind, AlarmLevel, Reach, Severity, reach_of


class Words(NamedTuple):
    """One text in both languages."""

    zh: str
    en: str


class Measured(NamedTuple):
    """A value with the limit it crossed, in the unit of the kind."""

    value: int
    limit: int


def of_alarm(
    kind: AlarmKind, level: AlarmLevel, *, pile_id: str, port_no: int | None, measured: Measured, flaps: int
) -> Words:
    """An alarm as its operator and property are told of it."""
    rule = RULES[kind]
    place = _place(pile_id, port_no)
    zh = [f"{rule.zh}：{place.zh}"]
    en = [f"{rule.en}: {place.en}"]
    if value := rule.unit.say(measured.value):
        limit = rule.unit.say(measured.limit) if measured.limit else ""
        zh.append(f"实测 {value}" + (f"，限值 {limit}" if limit else ""))
        en.append(f"measured {value}" + (f", limit {limit}" if limit else ""))
    if flaps:
        zh.append(f"已反复 {flaps} 次")
        en.append(f"came back {flaps} times" if flaps > 1 else "came back once")
    done = _consequence(kind, level, port_no)
    return Words("；".join([*zh, done.zh]) + "。", "; ".join([*en, done.en]) + ".")


def of_alarm_over(kind: AlarmKind, *, pile_id: str, port_no: int | None, still_locked: bool) -> Words:
    """An alarm that people were told of is over."""
    rule = RULES[kind]
    place = _place(pile_id, port_no)
    if still_locked:
        return Words(
            f"{rule.zh}已解除：{place.zh}；仍锁定，等待人工检查后解锁。",
            f"{rule.en} is over: {place.en}; still locked until somebody has looked at it.",
        )
    return Words(f"{rule.zh}已解除：{place.zh}。", f"{rule.en} is over: {place.en}.")


def for_rider_stopped(kind: AlarmKind) -> Words:
    """To a rider whose charge ends because of an alarm."""
    rule = RULES[kind]
    if rule.stops_pile is not None and rule.trip is Severity.DANGER and rule.life:
        return Words(
            f"{rule.zh}！充电已停止。请远离充电桩；如看到烟或明火，请立即报火警。未用的钱会原路退回。",
            f"{rule.en}! Charging was stopped. Keep away from the pile, and call the fire service if you see smoke or "
            "flames. Unused money goes back to you.",
        )
    return Words(
        f"{rule.zh}：为安全起见，充电已停止。未用的钱会原路退回。",
        f"{rule.en}: charging was stopped for safety. Unused money goes back to you.",
    )


def for_rider_called_off(kind: AlarmKind) -> Words:
    """To a rider who has paid and whose charge will not start."""
    rule = RULES[kind]
    return Words(
        f"{rule.zh}：为安全起见，充电未开始，全部金额正在退回。",
        f"{rule.en}: for safety the charge does not start; the whole amount is on its way back.",
    )


def for_rider_warned(kind: AlarmKind) -> Words:
    """To a rider whose charge goes on: words that stay true when it has ended, for they stay on the page."""
    rule = RULES[kind]
    return Words(
        f"{rule.zh}预警：充电未因此中断，工作人员已收到通知。",
        f"Warning, {_lower(rule.en)}: it did not interrupt the charge, and the operator has been told.",
    )


def of_disabled_port(*, pile_id: str, port_no: int, failures: int) -> Words:
    """A port that was taken out of service because starts kept failing."""
    place = _place(pile_id, port_no)
    return Words(
        f"连续 {failures} 次启动失败，已停用：{place.zh}；检查后请人工恢复。",
        f"Taken out of service after {failures} failed starts in a row: {place.en}; check it, then put it back.",
    )


def for_rider_port_disabled() -> Words:
    """To the rider whose start was the last to fail."""
    return Words(
        "此插座多次启动失败，已停用并通知工作人员。请换一个插座，金额已全部退回。",
        "Charging failed to start here several times; the socket is out of service now and the operator has been told. "
        "Please take another one. The whole amount goes back to you.",
    )


def of_lifted(*, pile_id: str, port_no: int | None, by: str, reason: str) -> Words:
    """A person has lifted a lock."""
    place = _place(pile_id, port_no)
    return Words(f"已解锁：{place.zh}；{by}：{reason}", f"Unlocked: {place.en}; {by}: {reason}")


def of_kept(*, pile_id: str, port_no: int | None) -> Words:
    """The pile would not be cleared, so the lock is on again."""
    place = _place(pile_id, port_no)
    return Words(
        f"解锁未成功，充电桩仍检测到危险，已重新锁定：{place.zh}。",
        f"Not unlocked: the pile still measures the danger, so it is locked again: {place.en}.",
    )


def _consequence(kind: AlarmKind, level: AlarmLevel, port_no: int | None) -> Words:
    if level is AlarmLevel.WARN:
        return Words("仅预警，充电继续", "a warning, charging goes on")
    reach = reach_of(kind, level, port_no)
    if reach is Reach.PILE:
        return Words(
            "整桩已停止充电并锁定，人工检查前不能启动", "the whole pile is stopped and locked until checked"
        )
    if reach is Reach.PORT:
        return Words("该插座已锁定，人工检查前不能启动", "the socket is locked until checked")
    return Words("报警期间不能启动", "nothing starts there while it lasts")


def _place(pile_id: str, port_no: int | None) -> Words:
    if port_no is None:
        return Words(f"充电桩 {pile_id}", f"pile {pile_id}")
    return Words(f"充电桩 {pile_id} {port_no} 号插座", f"pile {pile_id}, socket {port_no}")


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
