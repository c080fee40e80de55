"""Latencies from elsewhere: CSV files and block tables, the real Note 10 one included."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_board import FakeBoard

from latency_tables.table import read_table
from nas.cli.main import main
from nas.devices.block_table import read_block_table
from nas.devices.device_table import SHIPPED_TABLES
from nas.devices.importing import import_table
from nas.devices.protocol import Protocol
from nas.devices.registry import get_device, list_devices
from search_spaces import SearchSpace, get_space

TINY = """
Conv-input:8x8x3-output:8x8x8: {mean: 1.0}
expanded_conv-input:8x8x8-output:8x8x8-expand:8-kernel:3-stride:1-idskip:1-se:0-hs:0: {mean: 0.5, count: 3}
"""


def block_files(shared_data: Path, name: str, folder: Path) -> list[Path]:
    """The public tables in the form that once-for-all publishes: a YAML file for each resolution."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    with (shared_data / "latency/luts" / name).open() as file:
        for row in csv.DictReader(file):
            key = f"{row['type']}-input:{row['input']}-output:{row['output']}"
            if row["type"] == "expanded_conv":
                options = ("expand", "kernel", "stride", "idskip", "se", "hs")
                key += "".join(f"-{option}:{row[option]}" for option in options if option in row)
            tables.setdefault(row.get("resolution", "224"), {})[key] = {"mean": float(row["mean_ms"])}
    paths = [folder / f"{resolution}.yaml" for resolution in tables]
    for path, table in zip(paths, tables.values(), strict=True):
        path.write_text(yaml.safe_dump(table))
    return paths


def note10_space() -> SearchSpace:
    return get_space("mobilenet_v3", width_mult=1.2, resolutions=list(range(160, 225, 4)))


def test_block_sums_are_what_the_phone_took(shared_data: Path, tmp_path: Path) -> None:
    """Once-for-all's own networks on the Note 10: published as 30, 41 and 50 ms."""
    table = read_block_table(*block_files(shared_data, "ofa_note10_lut.csv", tmp_path))
    space = note10_space()
    with (shared_data / "latency/ofa/published_specialized_nets.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["device"] == "note10" and row["stem_channels"] == "24"]
    compared = 0
    for row in rows:
        if int(row["resolution"]) > 224:
            continue
        stages: list[list[str]] = []
        width = None
        for source, mid, out, kernel, *_ in yaml.safe_load(row["blocks"])[1:]:
            if out != width:
                stages.append([])
                width = out
            stages[-1].append(f"k{kernel}e{round(mid / source)}")
        genotype = space.parse(f"r{row['resolution']}-" + "-".join("_".join(stage) for stage in stages))
        assert table.latency_ms(space, genotype)[0] == pytest.approx(float(row["latency_ms"]), rel=0.03)
        compared += 1
    assert compared == 3


def test_a_ratio_and_channels_mean_the_same_block(shared_data: Path, tmp_path: Path) -> None:
    paths = block_files(shared_data, "proxylessnas_pixel1_lut.csv", tmp_path)
    space = get_space("proxylessnas", resolutions=[224], expansions=[3, 6])
    table = read_block_table(*paths)
    least, most = table.latency_ms(space, np.stack([space.min, space.max]))
    assert 30 < least < 60 < 150 < most < 250
    wide = get_space("proxylessnas", resolutions=[224], expansions=[4])
    with pytest.raises(ValueError, match=r"no block expanded_conv from 112x112x16 to 56x56x24 \(64 channels inside"):
        table.latency_ms(wide, wide.min)
    small = get_space("proxylessnas", resolutions=[128])
    with pytest.raises(ValueError, match="no network of 128 pixels; it has 224"):
        table.latency_ms(small, small.min)


def test_an_imported_block_table_is_a_device(shared_data: Path, tmp_path: Path) -> None:
    paths = block_files(shared_data, "ofa_note10_lut.csv", tmp_path)
    devices = tmp_path / "devices"
    table = import_table(paths, "my-note10", space=note10_space(), samples=50, folder=devices)
    device = get_device("my-note10", folder=devices)
    assert not device.can_measure
    assert len(device.table.known(note10_space())[0]) == len(table) == 50
    assert ("mobilenet_v3_w1.2", 50) in next(
        known.spaces for known in list_devices(folder=devices) if known.spec.name == "my-note10"
    )


@pytest.mark.parametrize(("words", "samples"), [([], 300), (["--samples", "10"], 10)])
def test_as_many_networks_of_a_block_table_as_are_asked_for(
    words: list[str], samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def stop(paths: object, name: str, **settings: Any) -> None:
        asked.append(settings["samples"])
        raise ValueError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.cli.verbs.measure.import_table", stop)
    main(["measure", "--device", "mine", "--import", "blocks.yaml", *words])
    assert asked == [samples]


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "should be an object"),
        ("- a", "should be an object"),
        ("{}", "is no block table"),
        ("a: [", "is not valid YAML"),
        ("a: &x [*x]", "aliases"),
        (TINY + "Conv-input:xx-output:1x1x1: {mean: 1}", "is no block"),
        (TINY + "Conv-input:" + "9" * 500 + "x1x1-output:1x1x1: {mean: 1}", "is no block"),
        (TINY + "Conv-input:1x1x1-output:1x1x1: {mean: true}", "has the latency True"),
        (TINY + "Foo-bar: {mean: 1}", "'Foo-bar' is no block"),
        (TINY.replace("1.0", ".nan"), "holds nan, which is no finite number"),
        (TINY.replace("1.0", "-1"), "has the latency -1"),
        (TINY.replace("Conv-input", "Conv_1-input"), "has no entry Conv"),
    ],
)
def test_broken_block_tables(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_block_table(path)
    assert str(path) in str(caught.value)


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no block table"):
        read_block_table(tmp_path / "absent.yaml")
    with pytest.raises(ValueError, match="neither a CSV file nor a YAML block table"):
        import_table([tmp_path / "x.xlsx"], "board")
    with pytest.raises(ValueError, match="name the search space"):
        import_table([tmp_path / "x.yaml"], "board")
    with pytest.raises(ValueError, match="nothing to import"):
        import_table([], "board")


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
