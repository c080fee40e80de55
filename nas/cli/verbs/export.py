"""`nas export`: the network of a finished search as an ONNX file, checked against PyTorch."""

import json
from dataclasses import asdict
from pathlib import Path

from nas.cli.config import ExportConfig
from nas.cli.console import output
from nas.deployment import MODEL, WEIGHTS, export_checked
from nas.supernet import load_subnet
from nas.training.run import TrainedSupernet


def run(config: ExportConfig, folder: Path) -> int:
    """Export, compare on test images, say where the file is."""
    source = Path(config.run)
    result = source / "result.json"
    if not result.is_file():
        raise ValueError(f"{source} is not the folder of a finished search: it has no result.json")
    record = json.loads(result.read_text(encoding="utf-8"))
    path = source / MODEL if config.out is None else Path(config.out)
    if path.suffix != ".onnx":
        raise ValueError(f"--out must name an .onnx file, got {path}")
    subnet = load_subnet(source / WEIGHTS).eval()
    parity = export_checked(subnet, TrainedSupernet.open(Path(record["supernet"])), path, batch=config.batch)
    if config.json:
        print(json.dumps({"path": str(path), "parity": asdict(parity)}))
        return 0
    output.print(
        f"network  {path} ({path.stat().st_size:,} bytes)\n"
        f"parity   logits differ from PyTorch by at most {parity.max_abs_difference:.2g} on {parity.n} test images, "
        f"same class on {parity.top1_agreement:.1%}",
        soft_wrap=True,
    )
    return 0
