"""Tables of block latencies, the real Note 10 one included: sums of blocks, and devices made of them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nas.cli.main import main
from nas.devices.block_table import read_block_table
from nas.devices.importing import import_table
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


def test_a_block_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no block table"):
        read_block_table(tmp_path / "absent.yaml")
