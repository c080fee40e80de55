"""Latency tables: what is read back, and the one sentence for everything that can be wrong with a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latency_tables.card import Card, read_card, write_card
from latency_tables.table import COLUMNS, LatencyTable, card_path, merge_repeats, read_rows, read_table, write_table
from search_spaces import SearchSpace, get_space

SPACE = get_space("mobilenet_v3_small_images")
NAMES = SPACE.format(SPACE.sample(4, np.random.default_rng(0)))


def make_rows(latency_ms: list[float]) -> pd.DataFrame:
    n = len(latency_ms)
    rows = pd.DataFrame({"space": SPACE.name, "architecture": NAMES[:n]})
    return rows.assign(
        resolution=32,
        batch=1,
        precision="float32",
        latency_ms=latency_ms,
        p10_ms=[0.9 * x for x in latency_ms],
        p90_ms=[1.2 * x for x in latency_ms],
        runs=200,
        source="measured",
    )


def write_csv(folder: Path, *lines: str, header: str = "space,architecture,latency_ms", card: str = "") -> Path:
    csv = folder / "board.csv"
    csv.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    card_path(csv).write_text(card or "name: board\nthreads: 1\n", encoding="utf-8")
    return csv


def row(name: str = NAMES[0], latency: object = 0.3) -> str:
    return f"{SPACE.name},{name},{latency}"


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    card = Card("board", ("b",), chip="Über-Chip", threads=2, conditions={"load": [0.5, 1.0]}, date="2026-01-02")
    write_table(tmp_path / "board.csv", LatencyTable(make_rows([0.3, 0.4, 0.5]), card))
    table = read_table(tmp_path / "board.csv", find_space=get_space)
    assert table.card == card
    assert list(table.rows) == list(COLUMNS)
    pd.testing.assert_frame_equal(table.rows, make_rows([0.3, 0.4, 0.5]), check_dtype=False)
    assert len(table.select(SPACE.name, batch=1, precision="float32")) == 3
    assert len(table.select(SPACE.name, precision="int8")) == 0


def test_three_columns_are_enough_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    rows = read_rows(write_csv(tmp_path, row(), "", row(NAMES[1], 0.4), ",,"), find_space=get_space)
    assert rows["latency_ms"].tolist() == [0.3, 0.4]
    assert rows[["batch", "precision", "runs"]].drop_duplicates().to_numpy().tolist() == [[1, "float32", 1]]


def test_repeats_are_merged_by_runs_and_their_interval_widens() -> None:
    rows = pd.concat([make_rows([0.3, 0.4]), make_rows([0.33])], ignore_index=True)
    rows.loc[2, "runs"] = 100
    merged = merge_repeats(rows)
    assert merged["architecture"].tolist() == NAMES[:2]
    assert merged.loc[0, "latency_ms"] == pytest.approx((200 * 0.3 + 100 * 0.33) / 300)
    assert merged.loc[0, ["p10_ms", "p90_ms"]].tolist() == pytest.approx([0.27, 1.2 * 0.33])
    assert merged["runs"].tolist() == [300, 200]


def test_one_architecture_in_two_spellings_is_one_network(tmp_path: Path) -> None:
    rows = read_rows(write_csv(tmp_path, row(NAMES[0]), row(f" {NAMES[0]} ", 0.31)), find_space=get_space)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([row(latency="nan")], r"line 2: 'nan' in latency_ms is not a positive, finite number"),
        ([row(), row(latency="inf")], r"line 3: 'inf' in latency_ms"),
        ([row(), "", row(latency=-1)], r"line 4: '-1' in latency_ms"),
        ([row(latency=0)], "line 2: '0' in latency_ms"),
        ([row(latency="12ms")], "line 2: '12ms' in latency_ms"),
        ([row(latency="")], "line 2: '' in latency_ms"),
        ([row("r32-k9")], "line 2: .*r32-k9"),
        ([row(), f"no_such_space,{NAMES[0]},1"], "line 3: unknown search space 'no_such_space'"),
        ([row(latency=0.3), row(NAMES[1], 0.3), row(latency=0.4)], "lines 2 and 4 measure the same .*0.3 and 0.4 ms"),
        ([row() + ",7"], "line 2"),
        ([row(n, 300.0 + i) for i, n in enumerate(NAMES)], "looks like microseconds, divide it by 1000"),
        ([row(n, 3e-7) for n in NAMES], "looks like seconds, multiply it by 1000"),
        ([row(NAMES[0], 0.3), row(NAMES[1], 0.4), row(NAMES[2], 350)], "line 4: 350 ms beside a median of 0.4 ms"),
        ([], "has no rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_table(write_csv(tmp_path, *lines), find_space=get_space)
    assert str(tmp_path / "board.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_columns_are_checked_too(tmp_path: Path) -> None:
    header = "space,architecture,latency_ms,batch,precision,p10_ms,p90_ms"
    for cells, message in {
        "0,float32,1,1": "'0' in batch",
        "1.5,float32,1,1": "'1.5' in batch",
        "1,float8,1,1": "'float8' is no precision; known: float32, float16, int8",
        "1,float32,2,1": "p10_ms is above p90_ms",
        "1,float32,x,1": "'x' in p10_ms",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_rows(write_csv(tmp_path, f"{row()},{cells}", header=header), find_space=get_space)


def test_microcontrollers_may_be_slow(tmp_path: Path) -> None:
    lines = [row(n, 300.0 + i) for i, n in enumerate(NAMES)]
    csv = write_csv(tmp_path, *lines, card="name: board\nruntime: tflite-micro\nthreads: 1\n")
    assert len(read_table(csv, find_space=get_space)) == len(NAMES)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    csv = tmp_path / "board.csv"
    for content, message in {
        b"": "is empty",
        b"\xff\xfes\x00p\x00": "is not UTF-8 text",
        "space,architecture,latency_ms\nä,b,1\n".encode("latin-1"): "is not UTF-8 text",
        b"s\0p\0a\0c\0e\0": "zero bytes",
        b"space|architecture|latency_ms\na|b|1\n": "line 1: no column space, architecture, latency_ms",
        b"space,space,architecture,latency_ms\n": "line 1: two columns are called space",
        b"space,architecture\na,b\n": "line 1: no column latency_ms",
    }.items():
        csv.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_rows(csv)
    with pytest.raises(ValueError, match="there is no latency table"):
        read_rows(tmp_path / "absent.csv")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    csv = write_csv(tmp_path, row())
    csv.write_text(csv.read_text(), encoding="utf-8-sig")
    assert len(read_rows(csv, find_space=get_space)) == 1


def test_cards_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    for content, message in {
        "": "should be an object",
        "- name": "should be an object",
        "chip: x": "name is missing",
        "name: [": "is not valid YAML",
        "name: board\ncolour: red": "colour is not a known field",
        "name: board\nthreads: two": "threads should be a valid integer, got 'two'",
        "name: board\nthreads: true": "threads should be a valid integer, got True",
        "name: board\nthreads: -1": "threads must be 0 or more",
        "name: ../../evil": "name of a device must be a plain name",
        "name: -board": "cannot begin with -",
        "name: a,b": "nor have , = or @",
        "name: board\naliases: [x, a/b]": "name of a device must be a plain name",
        "name: board\naliases: [[x]]": r"aliases\[0\] should be a valid string",
        "name: board\nconditions: {noise: .nan}": "no finite number",
        "name: board\nconditions: &a {a: *a}": "aliases",
    }.items():
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_card(path)
    with pytest.raises(ValueError, match="board2.yaml is missing"):
        read_card(tmp_path / "board2.yaml")
    path.write_text("name: board\ndate: 2026-01-02\nruntime_version: 1.2\n")
    assert read_card(path) == Card("board", date="2026-01-02", runtime_version="1.2")
    write_card(path, Card("board", ("a", "b")))
    assert read_card(path) == Card("board", ("a", "b"))


def test_the_public_tables_pass_the_plausibility_check(shared_data: Path) -> None:
    """Every column of the public data is real milliseconds, from phones to GPUs at batch 256."""
    from latency_tables.plausible import Work, check_plausible

    for file, macs, layers in (("nasbench201", 60e6, 95), ("fbnet", 200e6, 65)):
        data = pd.read_csv(shared_data / "latency" / file / "help_latency_ms.csv")
        archs = pd.read_csv(shared_data / "latency" / file / "archs.csv")
        data = data[archs.get("connected", pd.Series(1, index=data.index)) == 1].sample(500, random_state=0)
        for device in data.columns.drop("arch_index"):
            latency = data[device].to_numpy(float)
            batch = int(device.rsplit("_", 1)[1]) if device.rsplit("_", 1)[-1] in ("32", "64", "256") else 1
            rows = pd.DataFrame({"space": file, "batch": batch, "precision": "float32", "latency_ms": latency})
            rows = rows.assign(architecture=rows.index)[latency > 0]
            work = Work(pd.Series(macs, index=rows.index), pd.Series(float(layers), index=rows.index))
            check_plausible(Path(device), rows, work, Card(device))


def test_the_shipped_tables_are_valid() -> None:
    import latency_tables

    def at_any_resolution(label: str) -> SearchSpace:
        small = "small_images" in label
        return get_space(label) if small else get_space(label, resolutions=list(range(128, 261, 4)))

    tables = sorted(Path(latency_tables.__file__).parent.glob("*.csv"))
    assert len(tables) >= 10
    for csv in tables:
        table = read_table(csv, find_space=at_any_resolution)
        assert table.card.name == csv.stem
        assert table.card.provenance
        assert table.card.citation or table.card.provenance == "measured"
        assert table.card.licence
