"""`nas export`: the network of a finished search as files for its runtimes, each checked against PyTorch."""

import json
from contextlib import nullcontext
from pathlib import Path

from latency_tables.writable import check_writable
from nas.cli.call import Call
from nas.cli.config import ExportConfig
from nas.cli.console import output, remarks
from nas.export.checked import rejections, sentence
from nas.export.network_file import FORMATS, file_kinds
from nas.pipeline.export import batch_of, export_again, search_record
from nas.pipeline.run_folder import in_use
from nas.progress import Listener


def run(config: ExportConfig, call: Call) -> int:
    """Export, compare on images, say where the files are; 1 if an int8 file lost too much accuracy."""
    source = Path(config.run)
    kinds = file_kinds(config.format, config.precision)
    where = source if config.out is None else Path(config.out)
    if where.suffix[1:] in FORMATS:
        if len(kinds) > 1 or kinds[0].suffix != where.suffix:
            raise ValueError(
                f"--out {where} names one {where.suffix} file, but {', '.join(k.file_name for k in kinds)} "
                "are to be written; give a folder, or another --format and --precision"
            )
        paths = [where]
    else:
        paths = [where / kind.file_name for kind in kinds]
    check_writable(paths[0].parent)
    # Its record changes only where the files join it.
    inside = source.is_dir() and paths[0].parent.resolve() == source.resolve()
    listener = Listener(say=remarks.print)
    with in_use(source, "nas export", wait=True, listener=listener) if inside else nullcontext():
        exports = export_again(
            source,
            paths,
            kinds,
            batch=config.batch if call.says("batch") else batch_of(search_record(source)),
            max_accuracy_drop=config.max_accuracy_drop / 100,
            devices=Path(config.runs) / "devices",
            listener=listener,
        )
    if config.json:
        print(json.dumps({"folder": str(paths[0].parent), "exports": exports}))
    else:
        for path, export in zip(paths, exports, strict=True):
            output.print(f"{path.parent / sentence(export)}", soft_wrap=True)
    rejected = rejections(exports)
    for text in rejected:
        remarks.print(f"nas export: {text}")
    return 1 if rejected else 0
