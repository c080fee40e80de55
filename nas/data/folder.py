"""The layout of an image folder: which of its folders are splits, and which are classes.

Read are ``root/<class>/...``, to be split by seed; ``root/<split>/<class>/...`` with any usual names of splits
(``train``, ``Testing``, ``seg_train``, ``val2017``); ``root/<class>/<split>/...``; and each of these one or more levels
deeper in a single folder. A folder that could be either is refused.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from nas.data.tree import Tree, in_words, printable, read_tree
from nas.progress import counted

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_ENDINGS = ("", "set", "data", "images", "imgs")
_MORE_WORDS: dict[str, SplitName] = {
    word + ending: split for word, split in {**_WORDS, "trainval": "train"}.items() for ending in _ENDINGS
}
"""Read as splits where nothing is by `_WORDS`."""
_UNSURE: dict[str, SplitName] = {
    word + ending: "test" for word in ("eval", "evaluation", "holdout", "heldout") for ending in _ENDINGS
}
"""Some mean validation by them, some the test: never guessed."""
_NEARLY_ALL = 0.8


@dataclass(frozen=True)
class Layout:
    """Where the pictures of an image folder lie.

    Attributes
    ----------
    root : the folder, absolute.
    classes : names, sorted.
    files : paths of the pictures of each class, sorted, by split; splits without a folder are absent.
    remarks : what is to be said about the reading, in sentences.
    """

    root: str
    classes: tuple[str, ...]
    files: Mapping[SplitName, Sequence[Sequence[str]]]
    remarks: tuple[str, ...]

    def name(self, path: str) -> str:
        """A file's path below the root, as text."""
        below = path.removeprefix(
            os.path.join(self.root, "")
        )  # `os.path.relpath` takes as long as decoding a thumbnail
        return printable((os.path.relpath(path, self.root) if below == path else below).replace(os.sep, "/"))


def read_layout(root: str) -> Layout:
    """Find splits, classes and pictures.

    Raises
    ------
    ValueError : the folder is missing, has no classes or one, a class without pictures, a split with classes that the
        train split lacks, or can be read in two ways.
    """
    root = os.path.realpath(os.path.expanduser(root))
    if not os.path.isdir(root):
        raise ValueError(f"the image folder {printable(root)} does not exist; give one with a folder for each class")
    tree = read_tree(root)
    base, loose = _without_wrapping(tree)
    remarks = [] if base is tree else [f"the images are read from {printable(os.path.relpath(base.path, root))}/"]
    splits = _splits(base)
    if splits is None:
        by_class = _classes(base)
        in_classes = _splits_in_classes(base, by_class)
        by_split = in_classes or {"train": by_class}
        remarks += _same_inside(by_class) if in_classes is None else []
    else:
        unwrapped = {split: _without_wrapping(found) for split, found in splits.items()}
        splits = {split: found for split, (found, _) in unwrapped.items()}
        loose += sum(n for _, n in unwrapped.values())
        by_split = {split: _classes(found) for split, found in splits.items()}
        remarks += _check_classes(base, splits, by_split)
        beside = [
            f for f in base.folders if f.n_pictures and all(f.name != _first(base, s).name for s in splits.values())
        ]
        remarks += [f"left out: {counted(f.n_pictures, 'image')} in {f.name}/, beside the splits" for f in beside]
    if loose:
        remarks.append(f"left out: {counted(loose, 'image')} outside any class folder")
    if left_out := tree.all_left_out():
        remarks.append(f"left out, as they are not read as images: {in_words(left_out)}")
    classes = tuple(sorted(by_split["train"]))
    files = {
        split: [found[name].pictures() if name in found else [] for name in classes]
        for split, found in by_split.items()
    }
    return Layout(root, classes, files, tuple(remarks))


def _first(base: Tree, inner: Tree) -> Tree:
    """The folder right below `base` that `inner` lies in, or is."""
    return next(f for f in base.folders if inner.path == f.path or inner.path.startswith(f.path + os.sep))


def _with_pictures(tree: Tree) -> list[Tree]:
    return [folder for folder in tree.folders if folder.n_pictures]


def _without_wrapping(tree: Tree) -> tuple[Tree, int]:
    """The folder that holds the classes or splits, where they lie deeper in a single one, and how many pictures lie
    beside and above these.

    Folders beside it may hold other files, such as labels, but none may be empty: it could be a class.
    """
    loose = len(tree.files)
    while len(inner := _with_pictures(tree)) == 1 and _with_pictures(inner[0]):
        if not all(f.n_pictures or f.all_left_out() for f in tree.folders):
            break
        tree = inner[0]
        loose += len(tree.files)
    return tree, loose


def _split_named(name: str) -> tuple[SplitName, str] | None:
    """The split that a folder's name says, and the name without it; None where it says none, or two."""
    words = [word for word in re.findall(r"[a-z]+", name.lower()) if word in _WORDS]
    if len(words) != 1:
        return None
    return _WORDS[words[0]], re.sub(rf"(?<![a-z]){words[0]}(?![a-z])", "*", name.lower())


def _split_named_loosely(name: str, words: Mapping[str, SplitName]) -> tuple[SplitName, str] | None:
    """As `_split_named` by `words`; what is left of the name is without digits and words like "set"."""
    parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    found = [part for part in parts if part in words]
    if len(found) != 1:
        return None
    return words[found[0]], " ".join("*" if part in words else part for part in parts if part not in _ENDINGS)


def _named_as_splits(folders: Sequence[Tree]) -> dict[SplitName, Tree]:
    """The folders that are named as splits in one way, by split; empty where these are not at least two."""
    for named_by in (_split_named, partial(_split_named_loosely, words=_MORE_WORDS)):
        by_affix: dict[str, dict[SplitName, list[Tree]]] = {}
        for folder in folders:
            if (named := named_by(folder.name)) is not None:
                by_affix.setdefault(named[1], {}).setdefault(named[0], []).append(folder)
        for found in by_affix.values():
            if len(found) > 1 and all(len(same) == 1 for same in found.values()):
                return {split: found[split][0] for split in SPLITS if split in found}
    return {}


def _refuse_unclear_splits(where: str, folders: Sequence[Tree]) -> None:
    """Refuse folders of which one is named as a split, and another is too or has the same folders in it.

    Raises
    ------
    ValueError : there are such.
    """
    words = _MORE_WORDS | _UNSURE
    named = [(folder, *found) for folder in folders if (found := _split_named_loosely(folder.name, words))]
    pairs = [
        (first, second)
        for first, split, affix in named
        for second, other, its_affix in named
        if affix == its_affix and split == "train" != other
    ]
    pairs += [
        (first, second)
        for first, _, affix in named
        for second in folders
        if affix == "*" and first is not second and len(_inner_names(first) & _inner_names(second)) > 1
    ]
    if pairs:
        raise ValueError(
            f"{where} can be read in two ways: {pairs[0][0].name}/ and {pairs[0][1].name}/ as splits with the same "
            "classes, or as classes of their own; name the splits train/, val/ and test/, one folder each, or rename "
            "the classes"
        )


def _inner_names(folder: Tree) -> set[str]:
    return {inner.name for inner in _with_pictures(_without_wrapping(folder)[0])}


def _same_inside(classes: Mapping[str, Tree]) -> list[str]:
    """A sentence where the folders in the classes may be the classes."""
    counts = Counter(name for folder in classes.values() for name in _inner_names(folder))
    same = sorted(name for name, n in counts.items() if n > _NEARLY_ALL * len(classes))
    if len(same) < 2:
        return []
    return [
        f"careful: the classes are the folders {_first_ten(sorted(classes))}, which have the same folders in them; "
        f"if the classes are these ({_first_ten(same)}), put the images of each into one folder"
    ]


def _splits(base: Tree) -> dict[SplitName, Tree] | None:
    """The folders of the splits; None where the folders of `base` are classes.

    Raises
    ------
    ValueError : they could be either.
    """
    folders = _with_pictures(base)
    named = _named_as_splits(folders)
    if not named:
        _refuse_unclear_splits(printable(base.path), folders)
        return None
    names = " and ".join(f"{folder.name}/" for folder in named.values())
    nested = {split: _with_pictures(folder) for split, folder in named.items()}
    flat = [named[split] for split, inner in nested.items() if not inner]
    others = [folder for folder in folders if folder not in named.values()]
    where = printable(base.path)
    if len(flat) == len(named):
        raise ValueError(
            f"{where} can be read in two ways: {names} as splits, whose images then need class folders (like "
            f"{flat[0].name}/cat/), or as classes of their own; put class folders into them, or rename the classes"
        )
    if flat:
        raise ValueError(
            f"{where} can be read in two ways: {names} as splits, but the images in {flat[0].name}/ have no class "
            f"folders, or as classes; put them into class folders, take {flat[0].name}/ away, or rename the classes"
        )
    if others:
        shared = set.intersection(*map(_inner_names, named.values()))
        if len(shared) < 2:
            also = ", ".join(f"{folder.name}/" for folder in others[:3])
            raise ValueError(
                f"{where} can be read in two ways: {names} as splits, with {also} beside them, or all of them as "
                "classes; take away what is no split, or rename the classes"
            )
    if "train" not in named:
        raise ValueError(f"{where} has {names} but no folder for training; add train/ with a folder for each class")
    return named


def _splits_in_classes(base: Tree, classes: Mapping[str, Tree]) -> dict[SplitName, dict[str, Tree]] | None:
    """Splits within each class, by split and class; None where there are none.

    Raises
    ------
    ValueError : some classes have them and others have not, or have others.
    """
    found = {name: _named_as_splits(_with_pictures(folder)) for name, folder in classes.items()}
    if not any(found.values()):
        return None
    whole = [n for n, s in found.items() if s and not classes[n].files and len(s) == len(_with_pictures(classes[n]))]
    kinds = {tuple(splits) for splits in found.values()}
    if len(whole) < len(classes) or len(kinds) > 1 or "train" not in next(iter(kinds)):
        name = next(n for n, s in found.items() if s)
        inner = " and ".join(f"{name}/{folder.name}/" for folder in found[name].values())
        raise ValueError(
            f"{printable(base.path)} can be read in two ways: {inner} as splits of the class, which not all classes "
            "have in this way, or as parts of one class; give every class the same splits, or rename those folders"
        )
    return {split: {name: splits[split] for name, splits in found.items()} for split in next(iter(kinds))}


def _classes(folder: Tree) -> dict[str, Tree]:
    """The class folders by name.

    Raises
    ------
    ValueError : fewer than two, two of one name, or one without pictures.
    """
    where = printable(folder.path)
    names = [found.name for found in folder.folders]
    if not names:
        raise ValueError(f"{where} has no class folders; put the images into one folder for each class")
    if len(names) == 1:
        raise ValueError(f"{where} has one class, {names[0]!r}; a classifier needs at least two class folders")
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(f"{where} has two class folders of the name {twice[0]!r}; rename one")
    for found in folder.folders:
        if not found.n_pictures:
            left_out = found.all_left_out()
            holds = f"it holds {in_words(left_out)}" if left_out else "it is empty"
            raise ValueError(
                f"the class folder {printable(found.path)} has no images that can be read ({holds}); "
                "add some, or take the folder away"
            )
    return {found.name: found for found in folder.folders}


def _check_classes(
    base: Tree, splits: Mapping[SplitName, Tree], by_split: Mapping[SplitName, Mapping[str, Tree]]
) -> list[str]:
    """A sentence for each split that lacks some of the classes to train on.

    Raises
    ------
    ValueError : a split has a class that there are no images of to train on.
    """
    train, remarks = set(by_split["train"]), []
    for split, classes in by_split.items():
        name = _first(base, splits[split]).name
        if unknown := sorted(set(classes) - train):
            training = _first(base, splits["train"]).name
            raise ValueError(
                f"{name}/ of {printable(base.path)} has classes that {training}/ lacks: {_first_ten(unknown)}; add "
                f"images of them to {training}/, or take them out of {name}/"
            )
        if missing := sorted(train - set(classes)):
            remarks.append(
                f"{name}/ lacks {len(missing)} of {len(train)} classes ({_first_ten(missing)}): accuracies on its "
                "images say nothing about them"
            )
    return remarks


def _first_ten(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
