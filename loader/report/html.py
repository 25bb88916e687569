"""The page of a report: plain HTML with the pictures' numbers in it, for a page on disk cannot read files beside it."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from loader.report.parts import Column, Form, Picture, Section, Table

PLOTLY: Final = "plotly.min.js"
_DIGITS: Final = 6


def page(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#{one.name}">{escape(one.title)}</a>' for one in sections)
    told = "".join(f'<p class="lead">{escape(one)}</p>' for one in lead)
    body = "".join(map(_section, sections))
    pictures = [part for one in sections for part in one.parts if isinstance(part, Picture)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<link rel="stylesheet" href="page.css">\n'
        f'<script src="{PLOTLY}" defer></script>\n<script src="page.js" defer></script>\n</head>\n<body>\n'
        '<a class="skip" href="#main">Skip to the pictures</a>\n'
        f'<header><h1>{escape(title)}</h1><nav aria-label="Sections">{links}</nav></header>\n<main id="main">\n'
        '<noscript><p class="message">Pictures are drawn by a script in this folder; the tables do '
        "without.</p></noscript>\n"
        f"{told}\n{body}</main>\n"
        f'<script type="application/json" id="pictures">{_embedded(pictures)}</script>\n</body>\n</html>\n'
    )


def assets() -> dict[str, bytes]:
    """The files beside the page, by name."""
    from plotly.offline import get_plotlyjs

    own = files("loader.report") / "page"
    found = {name: (own / name).read_bytes() for name in ("page.css", "page.js")}
    script: str = get_plotlyjs()
    return found | {PLOTLY: script.encode()}


def shown(value: Any, form: Form) -> str:
    """A cell as it is read: numbers to six digits, nothing where nothing is known."""
    if value is None:
        return "–"
    match form:
        case "count":
            return f"{value:,}"
        case "share":
            return f"{value:.1%}"
        case "number":
            return f"{value:,.{_DIGITS}g}" if 1e-4 <= abs(value) < 10**_DIGITS or value == 0 else _outside(value)
        case _:
            return str(value)


def _outside(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1 and abs(value) < 1e15 else f"{value:.3e}"


def _embedded(pictures: Iterable[Picture]) -> str:
    """JSON that cannot end the element it stands in."""
    told = {one.name: {"traces": one.traces, "layout": one.layout, "fit": one.fit} for one in pictures}
    text = json.dumps(told, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _section(one: Section) -> str:
    told = "".join(f"<p>{escape(line)}</p>" for line in one.text)
    message = "" if one.message is None else f'<p class="message">{escape(one.message)}</p>'
    notes = "".join(f'<p class="note">{escape(line)}</p>' for line in one.notes)
    parts = "".join(_picture(part) if isinstance(part, Picture) else _table(part) for part in one.parts)
    data = "".join(f'<a href="data/{name}.parquet" download>data/{name}.parquet</a> ' for name in one.frames)
    rows = f'<p class="data">Rows: {data}</p>' if data else ""
    return (
        f'<section id="{one.name}" aria-labelledby="{one.name}-title"><h2 '
        f'id="{one.name}-title">{escape(one.title)}</h2>'
        f"{message}{told}{notes}{parts}{rows}</section>\n"
    )


def _picture(one: Picture) -> str:
    name = f"picture-{one.name}"
    return (
        f'<figure aria-labelledby="{name}-title"><figcaption><h3 id="{name}-title">{escape(one.title)}</h3>'
        f"<p>{escape(one.says)}</p></figcaption>"
        f'<div class="chart" id="{name}" data-picture="{one.name}" style="height:{one.height}px" role="img" '
        f'aria-label="{escape(one.label)}"></div></figure>'
    )


def _table(one: Table) -> str:
    head = "".join(f'<th scope="col"{_kind(column)}>{escape(column.name)}</th>' for column in one.columns)
    body = "".join(f"<tr>{''.join(map(_cell, one.columns, row, range(len(row))))}</tr>" for row in one.rows)
    caption = escape(one.caption)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{caption}"><table id="table-{one.name}">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(column: Column, value: Any, place: int) -> str:
    """With the exact value beside the one that is read."""
    exact = (
        "" if value is None else f' data-value="{escape(json.dumps(value) if not isinstance(value, str) else value)}"'
    )
    label = f' data-label="{escape(column.name)}"'
    text = escape(shown(value, column.form))
    return (
        f'<th scope="row"{label}{exact}>{text}</th>'
        if place == 0 and column.form == "text"
        else f"<td{_kind(column)}{label}{exact}>{text}</td>"
    )


def _kind(column: Column) -> str:
    return ' class="when"' if column.form == "time" else ' class="number"' if column.form != "text" else ""
