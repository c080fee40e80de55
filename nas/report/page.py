"""The page that reports are written on: its template, and the boxes and tables on it."""

from collections.abc import Collection, Sequence
from html import escape
from importlib.resources import files
from string import Template


def fill_page(
    *,
    title: str,
    status: str,
    badge: str,
    headline: str,
    subline: str,
    sections: Sequence[str],
    tiles: Sequence[str] = (),
) -> str:
    """The page as a string; `subline`, `sections` and `tiles` are HTML, the others text."""
    template = Template(files("nas.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        status=escape(status),
        badge=escape(badge),
        headline=escape(headline.replace(" ms", "\N{NO-BREAK SPACE}ms")),
        subline=subline,
        tiles="\n".join(tiles),
        sections="\n".join(section for section in sections if section),
    )


def html_section(title: str, body: str) -> str:
    """A titled box."""
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>"


def _cell(tag: str, html: str, *, number: bool) -> str:
    return f'<{tag} class="number">{html}</{tag}>' if number else f"<{tag}>{html}</{tag}>"


def html_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Collection[int] = (),
    chosen: Collection[int] = (),
) -> str:
    """A table of cells that are HTML already; `numbers` are columns set flush right, `chosen` rows set bold."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(_cell(tag, cell, number=column in numbers) for column, cell in enumerate(cells))

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if head else ""
    body = "".join(
        f"<tr{' class=chosen' if number in chosen else ''}>{line(row, 'td')}</tr>" for number, row in enumerate(rows)
    )
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'
