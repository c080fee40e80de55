"""Latencies from elsewhere: CSV files, the cards beside them, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_board import FakeBoard

from latency_tables.table import read_table
from nas.cli.main import main
from nas.devices.device_table import SHIPPED_TABLES
from nas.devices.importing import import_table
from nas.devices.protocol import Protocol
from nas.devices.registry import get_device
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")


def rows_of(n: int, unit: float = 1.0) -> list[tuple[str, float]]:
    """Networks of the small space with latencies (ms) that go with their MACs: about 20 GMAC/s."""
    population = SPACE.sample(n, np.random.default_rng(0))
    latency_ms = unit * SPACE.costs(population).macs / 20e6
    return list(zip(SPACE.format(population), latency_ms.tolist(), strict=True))


def write_csv(
    path: Path, rows: list[tuple[str, float]], separator: str = ",", head: str = "", comma: bool = False
) -> Path:
    lines = [separator.join(("space", "architecture", "latency_ms"))]
    for name, latency_ms in rows:
        number = f"{latency_ms:.6g}".replace(".", "," if comma else ".")
        lines.append(separator.join((SPACE.name, name, number)))
    path.write_text(head + "\n".join(lines) + "\n")
    return path


def test_an_imported_csv_is_checked_and_added_to(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images")
    names = space.format(np.stack([space.min, space.max]))
    source = tmp_path / "theirs.csv"
    source.write_text(f"space,architecture,latency_ms\n{space.name},{names[0]},0.3\n")
    import_table([source], "board", folder=tmp_path)
    source.write_text(f"space,architecture,latency_ms\n{space.name},{names[1]},0.9\n")
    import_table([source], "board", folder=tmp_path)
    stored = read_table(tmp_path / "board" / "board.csv", find_space=get_space)
    assert stored.rows["latency_ms"].tolist() == [0.3, 0.9]
    assert stored.card.name == "board"
    source.write_text(f"space,architecture,latency_ms\n{space.name},{names[1]},930\n")
    with pytest.raises(ValueError, match="theirs.csv: .*looks like microseconds"):
        import_table([source], "board", folder=tmp_path)


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a CSV file nor a YAML block table"):
        import_table([tmp_path / "x.xlsx"], "board")
    with pytest.raises(ValueError, match="name the search space"):
        import_table([tmp_path / "x.yaml"], "board")
    with pytest.raises(ValueError, match="nothing to import"):
        import_table([], "board")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mine.CSV", {}),
        ("mine.csv", {"separator": ";", "comma": True}),
        ("mine.csv", {"separator": ";"}),
        ("mine.csv", {"separator": "\t", "comma": True}),
        ("mine.csv", {"separator": ";", "comma": True, "head": "sep=;\n"}),
        ("mine.Csv", {"head": "\ufeff"}),
    ],
)
def test_what_spreadsheets_write_is_read(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    rows = rows_of(12)
    table = import_table([write_csv(tmp_path / name, rows, **options)], "mine", folder=tmp_path / "devices")
    assert dict(zip(table.rows["architecture"], table.rows["latency_ms"], strict=True)) == pytest.approx(
        dict(rows), rel=1e-5
    )
    assert get_device("mine", folder=tmp_path / "devices").table.read() is not None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tables_of_a_few_rows_are_read(n: int, tmp_path: Path) -> None:
    table = import_table([write_csv(tmp_path / "mine.csv", rows_of(n))], "mine", folder=tmp_path / "devices")
    assert len(table) == n


def test_latencies_of_another_unit_and_constant_ones_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "devices"
    with pytest.raises(ValueError, match="looks like seconds"):
        import_table([write_csv(tmp_path / "s.csv", rows_of(12, unit=1e-3))], "mine", folder=folder)
    with pytest.raises(ValueError, match="looks like microseconds"):
        import_table([write_csv(tmp_path / "us.csv", rows_of(12, unit=1e3))], "mine", folder=folder)
    constant = [(name, 0.2) for name, _ in rows_of(12)]
    with pytest.raises(ValueError, match="networks from line 2 on take 0.2 ms"):
        import_table([write_csv(tmp_path / "c.csv", constant)], "mine", folder=folder)
    assert not (folder / "mine" / "mine.csv").exists()


def test_imports_that_cannot_be(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "good.csv", rows_of(3))
    for name in ("../evil", "a/b", "-x", "", "a,b", "x" * 300):
        with pytest.raises(ValueError, match="the name of a device"):
            import_table([good], name, folder=tmp_path / "devices")
    assert not (tmp_path / "devices").exists()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="is not a regular file"):
        import_table([tmp_path / "pipe.csv"], "mine")
    with (tmp_path / "large.csv").open("w") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(ValueError, match="larger than 32 MiB"):
        import_table([tmp_path / "large.csv"], "mine")


def test_a_card_beside_the_file_cannot_say_that_its_programs_were_shown(tmp_path: Path) -> None:
    good = write_csv(tmp_path / "good.csv", rows_of(3))
    said = "{programs: [./run_me], first_core: 4, address: me@there, load: 0.1}"
    (tmp_path / "good.yml").write_text(f"name: good\nchip: Fast\nconditions: {said}\n")
    card = import_table([good], "mine", folder=tmp_path / "devices").card
    assert (card.name, card.chip, card.conditions) == ("mine", "Fast", {"load": 0.1})


def test_an_imported_table_can_be_measured_on(tmp_path: Path) -> None:
    """It has no reference network; a card of that name gives the device a way to measure."""
    folder = tmp_path / "devices"
    import_table([write_csv(tmp_path / "good.csv", rows_of(3))], "cpu", folder=folder)
    device = get_device("cpu", folder=folder)
    device.protocol = Protocol(rounds=5, runs=2)
    assert len(device.measure(SPACE, SPACE.max[None])) == 1
    table = device.table.read()
    assert table is not None
    assert table.rows["reference_ms"].isna().tolist() == [True] * 3 + [False]


def test_the_fit_of_a_tiny_table_is_valid_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs/devices"
    import_table([write_csv(tmp_path / "good.csv", [(name, 1.0) for name, _ in rows_of(4)])], "mine", folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        code = main(["fit", "--device", "mine", "--space", SPACE.name, "--json"])
    said = capsys.readouterr()
    if code == 0:
        json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    else:
        assert code == 2
        assert "nas fit:" in said.err


def test_what_a_fit_says_in_words_it_says_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.devices.learning.MOST_LEARNT_FROM", 12)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/devices"
    import_table([write_csv(tmp_path / "good.csv", rows_of(15))], "mine", batch=8, folder=folder)
    assert main(["fit", "--device", "mine", "--batch", "8", "--space", SPACE.name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["plot"]).is_file()
    assert (said["batch"], said["known"], said["errors"]["n"]) == (8, 15, 12)


def with_column(path: Path, name: str, *cells: object) -> Path:
    """The file with another column; a single cell stands in every row."""
    head, *lines = path.read_text().splitlines()
    each = cells * len(lines) if len(cells) == 1 else cells
    path.write_text("\n".join([f"{head},{name}", *(f"{a},{b}" for a, b in zip(lines, each, strict=True))]) + "\n")
    return path


def test_batch_and_threads_are_those_of_rows_that_do_not_say_them(tmp_path: Path) -> None:
    folder = tmp_path / "devices"
    path = write_csv(tmp_path / "mine.csv", rows_of(12))
    table = import_table([path], "mine", batch=8, threads=4, folder=folder)
    assert (set(table.rows["batch"]), table.card.threads) == ({8}, 4)
    assert len(get_device("mine", folder=folder, batch=8, threads=4).table.known(SPACE)[0]) == 12
    with pytest.raises(ValueError, match="published for 4 threads; leave --device-threads out"):
        import_table([path], "mine", threads=2, folder=folder)
    with_column(path, "batch", 1)
    with pytest.raises(ValueError, match=r"mine.csv has rows of batch 1, --batch says 8; leave --batch out"):
        import_table([path], "mine", batch=8, folder=folder)


def test_other_threads_of_a_device_have_a_table_of_their_own(tmp_path: Path) -> None:
    import_table([write_csv(tmp_path / "x.csv", rows_of(4))], "cpu", threads=2, folder=tmp_path / "devices")
    assert len(get_device("cpu", folder=tmp_path / "devices", threads=2).table.known(SPACE)[0]) == 4
    assert get_device("cpu", folder=tmp_path / "devices").table.read() is None


def test_an_import_needs_the_name_of_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_csv(tmp_path / "phone.csv", rows_of(4))
    assert main(["measure", "--import", str(path)]) == 2
    assert "--device NAME" in capsys.readouterr().err
    assert not (tmp_path / "runs/devices").exists()
    assert main(["measure", "--import", str(path), "--device", "phone7", "--batch", "2", "--device-threads", "3"]) == 0
    assert "next: nas fit --device phone7 --batch 2" in capsys.readouterr().err
    table = get_device("phone7").table.read()
    assert table is not None
    assert (set(table.rows["batch"]), table.card.threads) == ({2}, 3)


def test_what_is_imported_under_an_alias_is_the_devices_own(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", rows_of(4))
    for alias, name in (("local", "cpu"), ("pixel", "pixel1")):
        assert import_table([path], alias, folder=tmp_path / "devices").card.name == name
        device = get_device(alias, folder=tmp_path / "devices")
        assert device.name == name
        assert len(device.table.known(SPACE)[0]) == 4
    published = int((read_table(SHIPPED_TABLES / "pixel1.csv").rows["space"] == "mobilenet_v3").sum())
    assert len(device.table.known(get_space("mobilenet_v3", resolutions=range(128, 225, 4)))[0]) == published > 3


def test_the_card_of_a_measured_device_stays(tmp_path: Path) -> None:
    device = get_device("cpu", folder=tmp_path)
    device.transport, device.protocol = FakeBoard(), Protocol(rounds=5, runs=2)
    device.measure(SPACE, SPACE.max[None])
    before = device.table.card()
    import_table([write_csv(tmp_path / "x.csv", rows_of(3))], "cpu", folder=tmp_path)
    assert device.table.card() == before
    assert len(device.table.known(SPACE)[0]) == 4
    assert len(device.measure(SPACE, SPACE.min[None])) == 1


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("runtime: litert", "was measured with runtime: litert, cpu is runtime: onnxruntime"),
        ("threads: 4", "was measured with threads: 4, cpu is threads: 1"),
        ("conditions: {cpu: Phone}", "was measured with processor: Phone, cpu is processor: "),
        ("precision: int8", "has int8 rows, cpu is float32; a device has one precision"),
    ],
)
def test_a_file_of_other_conditions_is_not_this_machines(card: str, message: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", rows_of(3))
    path.with_suffix(".yaml").write_text(f"name: x\n{card}\n")
    with pytest.raises(ValueError, match=message):
        import_table([path], "cpu", folder=tmp_path / "devices")
    assert not (tmp_path / "devices/cpu/cpu.csv").exists()
    assert import_table([path], "phone7", folder=tmp_path / "devices").card.name == "phone7"


def test_the_precision_of_a_device_is_that_of_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "devices"
    path = with_column(write_csv(tmp_path / "x.csv", rows_of(4)), "precision", "int8")
    import_table([path], "npu", folder=folder)
    device = get_device("npu", folder=folder)
    assert device.spec.precision == "int8"
    assert len(device.table.known(SPACE)[0]) == 4
    import_table([write_csv(tmp_path / "y.csv", rows_of(6))], "npu", folder=folder)  # it does not say any other
    assert len(device.table.known(SPACE)[0]) == 6
    both = with_column(write_csv(tmp_path / "z.csv", rows_of(4)), "precision", "int8", "int8", "float32", "int8")
    for name in ("npu", "new"):
        with pytest.raises(ValueError, match="has float32 and int8 rows.*; a device has one precision"):
            import_table([both], name, folder=folder)


def test_what_an_earlier_version_took_for_float32_is_imported_again_as_what_it_is(tmp_path: Path) -> None:
    path = with_column(write_csv(tmp_path / "x.csv", rows_of(4)), "precision", "int8")
    import_table([path], "npu", folder=tmp_path)
    card = tmp_path / "npu/npu.yaml"
    card.write_text(card.read_text().replace("precision: int8", "precision: float32"))
    assert len(get_device("npu", folder=tmp_path).table.known(SPACE)[0]) == 0
    import_table([path], "npu", folder=tmp_path)
    assert len(get_device("npu", folder=tmp_path).table.known(SPACE)[0]) == 4


def test_a_resolution_that_the_architecture_does_not_have_is_refused(tmp_path: Path) -> None:
    path = with_column(write_csv(tmp_path / "x.csv", rows_of(3)), "resolution", "32", "", "224")
    with pytest.raises(ValueError, match="line 4: 224 in resolution is not the one that the architecture has"):
        import_table([path], "mine", folder=tmp_path / "devices")


def test_a_csv_is_read_with_the_options_of_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wide = get_space(SPACE.name, kernels=[3, 5, 7])
    Path("x.csv").write_text(
        f"space,architecture,latency_ms,order\n{wide.name},{wide.format(wide.min)},0.1,1\n"
        f"{wide.name},{wide.format(wide.max)},0.9,2\n"
    )
    assert main(["measure", "--device", "mine", "--import", "x.csv"]) == 2
    assert "is not a word of space" in capsys.readouterr().err
    assert main(["measure", "--device", "mine", "--import", "x.csv", "space.kernels=[3,5,7]"]) == 0
    assert len(get_device("mine").table.known(wide)[0]) == 2


def test_a_file_that_contradicts_what_is_stored_says_of_which_network(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images")
    names = space.format(np.stack([space.min, space.max]))
    source = tmp_path / "theirs.csv"
    header = "space,architecture,latency_ms\n"
    source.write_text(f"{header}{space.name},{names[0]},0.3\n{space.name},{names[1]},0.9\n")
    import_table([source], "board", folder=tmp_path)
    source.write_text(f"{header}{space.name},{names[1]},1.9\n")
    with pytest.raises(ValueError, match=f"says that {names[1]} takes 1.9 ms, .*board.csv says 0.9 ms; delete"):
        import_table([source], "board", folder=tmp_path)
