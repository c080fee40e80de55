"""The page that reports are written on: what may stand on it, and the template that makes HTML of that.

All text is escaped by the template (jinja2, autoescape). A link leads only into the page's own folder.
"""

from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from latency_tables.files import inner_path

_TEMPLATES = Environment(
    loader=PackageLoader("nas.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class Link:
    """A text that leads to a file in the page's folder or below.

    Raises
    ------
    ValueError : `path` leads elsewhere.
    """

    text: str
    path: str

    def __post_init__(self) -> None:
        inner_path(self.path)

    @property
    def address(self) -> str:
        """For ``href``: relative, so that nothing in it can be taken for a scheme."""
        return f"./{quote(self.path)}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table; a newline in `text` begins a new line.

    Attributes
    ----------
    kind : ``yes``, ``no`` or ``predicted`` for a verdict, ``code`` for a name in the program's own language.
    bar : width of a bar before the text, in rem.
    links : shown below the text, one a line.
    """

    text: str = ""
    kind: str = ""
    bar: float = 0.0
    links: Sequence[Link] = ()


@dataclass(frozen=True)
class Table:
    """Rows of cells; `numbers` are columns set flush right, `chosen` rows set bold."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    numbers: Collection[int] = ()
    chosen: Collection[int] = ()


@dataclass(frozen=True)
class Paragraph:
    """A few sentences of explanation."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Items:
    """Sentences in a list."""

    kind: ClassVar[str] = "items"
    sentences: Sequence[str]


@dataclass(frozen=True)
class Command:
    """What was typed."""

    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG file in two themes, of which the browser shows the one that fits, and what it shows."""

    kind: ClassVar[str] = "picture"
    light: bytes
    dark: bytes
    caption: str

    @property
    def sources(self) -> dict[str, str]:
        """As ``data:`` addresses, by theme."""
        pictures = {"light": self.light, "dark": self.dark}
        return {theme: f"data:image/png;base64,{b64encode(png).decode()}" for theme, png in pictures.items()}


Block = Table | Paragraph | Items | Command | Picture


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A titled box; one without blocks is left out."""

    title: str
    blocks: Sequence[Block | Folded]


@dataclass(frozen=True)
class Tile:
    """A figure with its name and a line of detail."""

    name: str
    figure: str
    detail: str


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes
    ----------
    title : of the browser's window.
    status : ``met``, ``missed`` or ``predicted``; the colour of `badge`.
    headline, sublines : the answer in a sentence, and lines below it.
    """

    title: str
    status: str
    badge: str
    headline: str
    sublines: Sequence[str | Cell]
    sections: Sequence[Section]
    tiles: Sequence[Tile] = ()

    def render(self) -> str:
        """The page as HTML, which stands alone."""
        return _TEMPLATES.get_template("page.html").render(page=self)
