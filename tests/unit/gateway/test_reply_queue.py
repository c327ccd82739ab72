"""Answers leave in their order, turn by turn; of too many the oldest give way, and how many is told."""

from datetime import datetime

from gateway.hearing import Reply
from gateway.reply_queue import ReplyQueue
from protocol.messages import Time


def answer(_sent_at: datetime) -> Time:
    return Time(0)


def replies(*pile_ids: str) -> list[Reply]:
    return [Reply(pile_id, answer) for pile_id in pile_ids]


def taken(queue: ReplyQueue) -> str:
    pile_ids = ""
    while (reply := queue.take()) is not None:
        pile_ids += reply.pile_id
    return pile_ids


def test_a_turn_takes_so_many_and_what_is_given_back_comes_first_in_the_next() -> None:
    queue = ReplyQueue(limit=10)
    assert queue.put(replies(*"abcde")) == 0
    assert taken(queue) == ""
    queue.begin_turn(most=2)
    first = queue.take()
    assert first is not None
    queue.give_back(first)
    queue.put(replies("f"))
    queue.begin_turn(most=3)
    assert taken(queue) == "abc"
    assert len(queue) == 3
    queue.begin_turn(most=10)
    assert taken(queue) == "def"


def test_of_too_many_the_oldest_give_way_and_are_counted() -> None:
    queue = ReplyQueue(limit=3)
    queue.put(replies(*"abc"))
    queue.begin_turn(most=1)
    assert queue.put(replies(*"defg")) == 3
    queue.begin_turn(most=10)
    assert taken(queue) == "aefg"
