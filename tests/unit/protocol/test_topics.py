"""Topics read as they are written, and nothing else reads as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import topics
from protocol.errors import BadTopic
from protocol.topics import SHARD_COUNT, Direction, Topic

pile_ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(pile_ids, st.sampled_from(Direction), st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True))
def test_a_topic_reads_as_it_is_written(pile_id: str, direction: Direction, message: str) -> None:
    topic = Topic(topics.shard_of(pile_id), pile_id, direction, message)
    assert topics.parse(str(topic)) == topic


@given(st.text(max_size=200))
def test_arbitrary_text_raises_nothing_but_bad_topic(text: str) -> None:
    with pytest.raises(BadTopic):
        topics.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "v1/07/P/up/boot",
        "v1/64/P/up/boot",
        "v1/-1/P/up/boot",
        "v2/7/P/up/boot",
        "v1/7//up/boot",
        "v1/7/+/up/boot",
        "v1/7/P/sideways/boot",
        "v1/7/P/up/",
        "v1/7/P/up/boot/x",
        "v1/7/P/up/Boot",
        "v1/7/P/up/boot\n",
        f"v1/7/{'x' * 65}/up/boot",
        "v1/٧/P/up/boot",
    ],
)
def test_close_misses_are_refused(text: str) -> None:
    with pytest.raises(BadTopic):
        topics.parse(text)


def test_the_shard_of_a_pile_never_changes() -> None:
    assert [topics.shard_of(pile_id) for pile_id in ("P-1", "PW-000001", "x")] == [46, 11, 4]


@given(pile_ids)
def test_shards_are_in_range_and_ids_are_ids(pile_id: str) -> None:
    assert 0 <= topics.shard_of(pile_id) < SHARD_COUNT
    assert topics.is_pile_id(pile_id)
    assert not topics.is_pile_id(pile_id + "/")


def test_a_subscription_covers_a_pile_or_a_shard() -> None:
    assert topics.subscription(Direction.UP, shard=5) == "v1/5/+/up/+"
    assert topics.subscription(Direction.DOWN, shard=5, pile_id="P") == "v1/5/P/down/+"
