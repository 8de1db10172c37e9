"""Turns the board into HTML. The templates escape everything: names, versions and messages are other people's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agui_operator.core.rollout import Phase
from agui_operator.dashboard.board import Board, Entry
from agui_operator.dashboard.chart import HEIGHT, WIDTH
from agui_operator.dashboard.details import parts_of
from agui_operator.dashboard.rows import Filter, Row, Tone, arrange, row_of

ROWS = 500  # shown at once; more than a person reads, and bounded

_WORDS = {
    Tone.STOPPED: "stopped",
    Tone.WAITING: "waiting",
    Tone.MOVING: "rolling out",
    Tone.IDLE: "not started",
    Tone.FINE: "healthy",
}


class Presence(StrEnum):
    """What this process may do at the moment."""

    ACTIVE = "active"  # it works on rollouts
    STANDBY = "standby"  # another holds the lease; nothing is watched here
    ADRIFT = "adrift"  # the lease could not be renewed: nothing is written, and what is shown may be old


@dataclass(frozen=True, slots=True)
class Listed:
    """What a filter lets through, in order; `left_out` did not fit."""

    rows: tuple[Row, ...]
    left_out: int


class Pages:
    """Renders pages and their parts. The HTML of a line is made when it is first shown and kept until its object
    changes, so that a page of many costs little more than one of few."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._rows: dict[str, Row] = {}
        self._lines: dict[int, tuple[int, str]] = {}
        self._arranged: list[Row] = []
        self._summary = ""
        self._at = -1  # revision of the board that rows, order and summary are of
        self._env = Environment(
            loader=PackageLoader("agui_operator.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals |= {"tones": _WORDS, "chart_width": WIDTH, "chart_height": HEIGHT}
        self._env.filters |= {"iso": _iso, "clock": _clock}
        for name in self._env.list_templates():  # now, not while somebody waits
            self._env.get_template(name)

    # --- the list ------------------------------------------------------------------------------------------------

    def listed(self, wanted: Filter) -> Listed:
        """The lines that the filter lets through."""
        self._refresh()
        rows = [row for row in self._arranged if wanted.lets(row)]
        return Listed(tuple(rows[:ROWS]), max(0, len(rows) - ROWS))

    def list_page(self, wanted: Filter, presence: Presence, mark: str, query: str) -> str:
        """The whole list. `mark` is the state that it shows; `query` the filter as it stands in the address."""
        listed = self.listed(wanted)
        return self._env.get_template("list.html").render(
            lines=self._markup("".join(self.lines(listed.rows, -1).values())),
            listed=listed,
            total=len(self._arranged),
            wanted=wanted,
            phases=[str(phase) for phase in Phase],
            namespaces=sorted({row.namespace for row in self._arranged}),
            summary=self._markup(self.summary()),
            presence=presence,
            live=f"/live?{query}" if query else "/live",
            mark=mark,
        )

    def lines(self, rows: Sequence[Row], since: int) -> dict[int, str]:
        """The HTML of those of the lines that changed after a revision of the board."""
        return {row.key: self._line(row) for row in rows if row.revision > since}

    def _line(self, row: Row) -> str:
        known = self._lines.get(row.key)
        if known is None or known[0] != row.revision:
            known = row.revision, self._env.get_template("line.html").render(row=row)
            self._lines[row.key] = known
        return known[1]

    def summary(self) -> str:
        """How many objects are in which state, of all that there are."""
        self._refresh()
        return self._summary

    def _refresh(self) -> None:
        """Once per change of the board, however many look."""
        if self._at == self._board.revision:
            return
        self._at = self._board.revision
        entries = self._board.entries
        for entry in entries:
            known = self._rows.get(entry.uid)
            if known is None or known.revision != entry.revision:
                self._rows[entry.uid] = row_of(entry)
        if len(self._rows) > len(entries):
            there = {entry.uid for entry in entries}
            self._rows = {uid: row for uid, row in self._rows.items() if uid in there}
            keys = {row.key for row in self._rows.values()}
            self._lines = {key: line for key, line in self._lines.items() if key in keys}
        self._arranged = arrange(self._rows.values())
        counts = Counter(row.tone for row in self._arranged)
        shown = [(str(tone), counts[tone], _WORDS[tone]) for tone in Tone if counts[tone]]
        self._summary = self._env.get_template("summary.html").render(counts=shown)

    # --- one object ----------------------------------------------------------------------------------------------

    def detail_page(self, entry: Entry, presence: Presence, mark: str) -> str:
        """The page of one object."""
        parts = {name: self._markup(html) for name, html in self.parts(entry).items()}
        row = row_of(entry)
        return self._env.get_template("detail.html").render(
            parts=parts, row=row, presence=presence, live=f"{row.href}/live", mark=mark
        )

    def parts(self, entry: Entry) -> dict[str, str]:
        """The page's parts by name."""
        return {
            name: self._env.get_template(f"parts/{name}.html").render(given) for name, given in parts_of(entry).items()
        }

    def missing_page(self, namespace: str, name: str, presence: Presence) -> str:
        return self._env.get_template("missing.html").render(namespace=namespace, name=name, presence=presence)

    def presence(self, presence: Presence) -> str:
        """The sentence about this process, empty while all is as it should be."""
        return self._env.get_template("presence.html").render(presence=presence)

    def _markup(self, html: str) -> Markup:
        return Markup(html)  # noqa: S704 - rendered by a template of ours, with everything in it escaped


def _iso(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at else ""


def _clock(at: datetime | None) -> str:
    """A time for people who have no script; the script makes it relative."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""
