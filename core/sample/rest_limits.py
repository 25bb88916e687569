"""How the sample exchange counts what it is asked: windows of time, 429 over the limit, 418 for who does not listen."""

from dataclasses import dataclass

_SECOND_US = 1_000_000
IGNORED_MOST = 3
"""Refusals in a row that are forgiven."""
BAN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Refusal:
    """429 or 418, and for how many seconds."""

    status: int
    retry_after: int
    text: str


class Gate:
    """At most `most` in each window of `seconds`, of whatever is counted."""

    def __init__(self, most: int, seconds: int = 60) -> None:
        self.most = most
        self.used = 0
        self._seconds = seconds
        self._window = -1
        self._ignored = 0
        self._banned_until_us = 0

    def enter(self, now_us: int, weight: int) -> Refusal | None:
        """Count a request; why it is not answered, if it is not."""
        if now_us < self._banned_until_us:
            return self._ban(now_us)
        length_us = self._seconds * _SECOND_US
        if now_us // length_us != self._window:
            self._window, self.used, self._ignored = now_us // length_us, 0, 0
        self.used += weight
        if self.used <= self.most:
            return None
        self._ignored += 1
        if self._ignored > IGNORED_MOST:
            self._banned_until_us = now_us + BAN_SECONDS * _SECOND_US
            return self._ban(now_us)
        wait = _seconds_up((self._window + 1) * length_us - now_us)
        text = f"Too many requests; current limit is {self.most} request weight per {self._seconds} SECONDS."
        return Refusal(429, wait, text)

    def _ban(self, now_us: int) -> Refusal:
        until_ms = self._banned_until_us // 1000
        text = f"Way too much request weight used; IP banned until {until_ms}."
        return Refusal(418, _seconds_up(self._banned_until_us - now_us), text)


def _seconds_up(us: int) -> int:
    return -(-us // _SECOND_US)
