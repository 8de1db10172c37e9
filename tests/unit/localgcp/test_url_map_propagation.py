"""A changed URL map reaches the front ends of the load balancer one after the other."""

from __future__ import annotations

from localgcp.services.compute.propagation import FRONT_ENDS, Propagation

OLD, NEW, NEWER = {"fingerprint": "1"}, {"fingerprint": "2"}, {"fingerprint": "3"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def served(propagation: Propagation, current: dict[str, str]) -> list[str]:
    seen = [propagation.seen("map", current, front_end) for front_end in range(FRONT_ENDS)]
    return [str(body["fingerprint"]) for body in seen if body is not None]


def test_front_ends_learn_at_equal_intervals() -> None:
    clock = Clock()
    propagation = Propagation(30, clock)
    propagation.changed("map", OLD)
    assert served(propagation, NEW) == ["1", "1", "1"]
    clock.now += 10
    assert served(propagation, NEW) == ["2", "1", "1"]
    clock.now += 5
    propagation.changed("map", NEW)
    clock.now += 5
    assert served(propagation, NEWER) == ["2", "2", "1"]
    clock.now += 10
    assert served(propagation, NEWER) == ["3", "2", "2"]
    clock.now += 15
    assert served(propagation, NEWER) == ["3", "3", "3"]
    assert propagation.seen("other", OLD, 0) is OLD
    assert propagation.seen("map", None, 0) is None


def test_without_a_time_a_change_is_seen_at_once() -> None:
    propagation = Propagation(0, Clock())
    propagation.changed("map", OLD)
    assert served(propagation, NEW) == ["2", "2", "2"]


def test_a_connection_stays_with_its_front_end_after_many() -> None:
    clock = Clock()
    propagation = Propagation(30, clock)
    for _ in range(5):
        propagation.changed("map", OLD)
        clock.now += 31
    assert served(propagation, NEW) == ["2"] * FRONT_ENDS
    assert propagation.seen("map", NEW, 7) == propagation.seen("map", NEW, 1)
