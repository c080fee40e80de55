"""What lies below a folder: pictures, sub-folders, and a count of what is left out.

Hidden entries, and those that file managers, archives and notebooks leave behind, are no data at any depth. Links to
files and folders are followed, but not back into a folder that they lie in.
"""

import os
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from nas.data.decode import is_picture, suffixes

_NO_DATA = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
     "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)  # fmt: skip
_HEIC = (".heic", ".heif", ".hif")


@dataclass
class Tree:
    """A folder.

    Attributes
    ----------
    path : as the system names it.
    name : its last part, as text that can be printed and written.
    files : paths of its own pictures.
    folders : by name.
    left_out : files that are no pictures, counted by suffix, of this folder alone.
    linked : whether it was reached over a link.
    """

    path: str
    name: str
    files: list[str] = field(default_factory=list)
    folders: list["Tree"] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    linked: bool = False

    def __post_init__(self) -> None:
        self.n_pictures = 0

    def pictures(self) -> list[str]:
        """Paths of all pictures at and below it; what several links lead to is there once."""
        found: list[tuple[str, bool]] = []
        self._collect(found)
        if any(linked for _, linked in found):
            real = {os.path.realpath(path) for path, linked in found if not linked}
            once = []
            for path, linked in found:
                target = os.path.realpath(path)
                if linked and target in real:
                    continue
                if linked:
                    real.add(target)
                once.append((path, linked))
            found = once
        start = len(self.path) + 1
        return sorted((path for path, _ in found), key=lambda path: path[start:].split(os.sep))

    def _collect(self, found: list[tuple[str, bool]]) -> None:
        found += [(path, self.linked or os.path.islink(path)) for path in self.files]
        for folder in self.folders:
            folder._collect(found)

    def all_left_out(self) -> Counter[str]:
        """At and below it."""
        return sum((folder.all_left_out() for folder in self.folders), Counter(self.left_out))


def read_tree(root: str) -> Tree:
    """All that lies below `root`.

    Raises
    ------
    ValueError : a folder cannot be read.
    """
    keys = set()
    parent = os.path.realpath(root)
    while parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
        keys.add(_key(parent))
    return _read(root, False, frozenset(keys))


def printable(name: str) -> str:
    """A file's name as text: composed letters, and bytes that are no UTF-8 read as Latin-1."""
    raw = os.fsencode(name)
    try:
        return unicodedata.normalize("NFC", raw.decode("utf-8"))
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def in_words(left_out: Counter[str]) -> str:
    """A count by suffix, the most frequent first, with the package that would read a suffix."""
    words = [f"{n:,} {suffix}" for suffix, n in left_out.most_common()]
    if any(suffix in left_out for suffix in _HEIC):
        words[-1] += " (pip install pillow-heif reads HEIC)"
    return ", ".join(words)


def _key(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _read(path: str, linked: bool, above: frozenset[tuple[int, int]]) -> Tree:
    tree = Tree(path, printable(os.path.basename(path)), linked=linked)
    above |= {_key(path)}
    try:
        with os.scandir(path) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"the folder {printable(path)} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _NO_DATA:
            continue
        is_link = entry.is_symlink()
        if entry.is_dir():
            if not is_link or _key(entry.path) not in above:
                tree.folders.append(_read(entry.path, linked or is_link, above))
            continue
        what = _left_out(entry)
        if what is None:
            tree.files.append(entry.path)
        else:
            tree.left_out[what] += 1
    tree.n_pictures = len(tree.files) + sum(folder.n_pictures for folder in tree.folders)
    return tree


def _left_out(entry: "os.DirEntry[str]") -> str | None:
    """What kind of file is left out; None for a picture."""
    if not entry.is_file():
        if entry.is_symlink() and not os.path.exists(entry.path):
            return "broken links"
        if not stat.S_ISREG(os.stat(entry.path).st_mode):
            return "special files"
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in suffixes() or (not suffix and is_picture(entry.path)):
        return None
    return printable(suffix) if suffix else "without a suffix"
