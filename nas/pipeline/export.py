"""A finished search taken up again: its record, and its network in more files."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from latency_tables.files import shown, write_text
from nas.devices.device_table import DEVICES_FOLDER
from nas.devices.registry import get_device
from nas.evaluation.trained import TrainedSupernet
from nas.export.checked import check_replaceable, export_checked
from nas.export.network_file import FileKind, check_formats
from nas.pipeline.deploy import WEIGHTS, file_names, keep_latency, measure_exports
from nas.pipeline.remarks import file_remarks
from nas.progress import SILENT, Listener
from nas.report.html import write_report
from nas.search.record import FILE, how_to_finish, read_record
from nas.supernet import Subnet, load_subnet


def search_record(folder: Path) -> dict[str, Any]:
    """``result.json`` of a finished search that exported its network.

    Raises
    ------
    ValueError : `folder` is not that of one, or a field is missing or wrong.
    """
    record: dict[str, Any] = dict(read_record(folder))
    if "exports" not in record:
        if record["status"] == "missed":
            why = "its budget was missed"
        elif "from" in record:
            why = f"it was answered by what {shown(str(record['from']))} learnt; without --from, networks are exported"
        else:
            why = f"the search was stopped before that; {how_to_finish(folder)}"
        raise ValueError(f"no network was exported in {folder}: {why}")
    if missing := [key for key in ("supernet", "classes", "files") if key not in record]:
        raise ValueError(f"{folder / FILE}: {missing[0]} is missing")
    return record


def chosen_network(folder: Path, record: Mapping[str, Any]) -> Subnet:
    """The network of a finished search, in evaluation mode.

    Raises
    ------
    ValueError : the file is not there, damaged, or of another network than `record`.
    """
    subnet = load_subnet(folder / WEIGHTS).eval()
    if subnet.architecture != record["architecture"]:
        raise ValueError(
            f"{folder / WEIGHTS} is of another network than {FILE} beside it, as the search was stopped before it was "
            f"done with the new one; {how_to_finish(folder)}"
        )
    return subnet


def write_search_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``result.json`` and the report made of it."""
    write_text(folder / FILE, json.dumps(record, indent=2) + "\n")
    write_report(folder)


def export_again(
    source: Path,
    paths: Sequence[Path],
    kinds: Sequence[FileKind],
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
    devices: Path = DEVICES_FOLDER,
    listener: Listener = SILENT,
) -> list[dict[str, Any]]:
    """Write the network of a finished search, check the files and, where its device is this machine, measure them.

    What is written into the run folder under its own name joins the record and the report there.

    Parameters
    ----------
    source : run folder of a finished search.
    paths : where each file goes, all in one folder.
    kinds : of each file.
    batch, max_accuracy_drop : see `nas.export.checked.export_checked`.
    devices : where each device's measurements lie, in a folder of its name.
    listener : is told what is wrong with a measurement, and when another process measures, which is waited for.

    Returns
    -------
    What is known of each file.

    Raises
    ------
    MissingExtra : what writes one of the files is not installed; nothing is written then.
    ValueError : `source` is no finished search, its images are not there any more, a format cannot express the network,
        or files of another network or precision would be replaced; nothing is written then.
    ParityFailed : a float32 file computes something else than PyTorch.
    """
    for kind in kinds:
        kind.require()
    record = search_record(source)
    subnet = chosen_network(source, record)
    check_formats(subnet.space, kinds, subnet.genotype[None])
    folder = paths[0].parent
    inside = folder.resolve() == source.resolve()
    if not inside and (folder / FILE).exists():
        raise ValueError(f"{folder} is the folder of another search; name another place with --out PATH")
    check_replaceable(paths, kinds, None if inside else subnet, str(source))
    data = TrainedSupernet.of_search(record).data
    exports = [
        export_checked(
            subnet,
            data,
            path,
            kind,
            batch=batch,
            max_accuracy_drop=max_accuracy_drop,
            objective=record.get("objective") or "accuracy",
            provenance={"search": str(source), "supernet": record["supernet"]},
        )
        for path, kind in zip(paths, kinds, strict=True)
    ]
    keep_latencies(exports, record["exports"], folder)  # where the device is out of reach from here
    with suppress(ValueError):  # there is no such device any more
        measure_exports(exports, folder, get_device(record["device"], folder=devices, listener=listener))
    remarks = partial(file_remarks, classes=record["classes"], measured_batch=record.get("batch") or 1)
    said = remarks(record["exports"])
    for remark in remarks(exports):
        if remark not in said:
            listener.say(remark)
    if inside and all(p.name == k.file_name for p, k in zip(paths, kinds, strict=True)):
        # What counts first stays first.
        record["exports"] = list({_kind(export): export for export in [*record["exports"], *exports]}.values())
        record["files"] = file_names(record["exports"])
        others = [note for note in record.get("notes", []) if note not in said]
        record["notes"] = [*others, *remarks(record["exports"])]
        write_search_record(source, record)
    return exports


def batch_of(record: Mapping[str, Any]) -> int | None:
    """Images that an inference of a search's files takes, as it was asked for; None where that is open.

    Searches by earlier versions do not say: theirs is what the ONNX file takes now.
    """
    exports = record["exports"]
    usual: int | None = next((export for export in exports if export["format"] == "onnx"), exports[0])["batch"]
    batch: int | None = record.get("file_batch", usual)
    return batch


def keep_latencies(exports: Sequence[dict[str, Any]], earlier: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Give files in `folder` the latency of the `earlier` file that runs the same at the same batch, if there is one.

    Latency does not depend on weights.
    """
    known = {_what(export): export["latency"] for export in earlier if "latency" in export}
    for export in exports:
        if latency := known.get(_what(export)):
            keep_latency(export, folder, latency)


def _kind(export: Mapping[str, Any]) -> tuple[str, str]:
    return export["format"], export["precision"]


def _what(export: Mapping[str, Any]) -> tuple[Any, ...]:
    return *_kind(export), export["batch"]
