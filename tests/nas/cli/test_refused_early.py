"""A wrong request is refused before anything is measured or trained, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nas.cli.main import main
from nas.data.cifar10 import CLASSES as CIFAR10
from nas.shipped import CARD, find_supernet


def images(root: Path, classes: dict[str, int]) -> Path:
    for name, n in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (16, 16), (i, 0, len(name))).save(root / name / f"{i}.png")
    return root


MISTAKES = [
    ("search --data ./nonexistent --latency 60%", "the image folder"),
    ("train --data ./nonexistent", "the image folder"),
    ("search --data ./empty --latency 60%", "class"),
    ("train --data ./one", "class"),
    ("search --data digits --latency 60% recipe.epochs=-1", "epochs must be a number above 0"),
    ("search --data digits --latency 60% recipe.dropout=2", "dropout"),
    ("search --data digits --latency 60% recipe=foo", "unknown recipe 'foo'"),
    ("search --data digits --latency 60% +recipe.foo=1", "foo"),
    ("search --data digits --latency 60% space.depths=[0]", "depths must be"),
    ("search --data digits --latency 60% space.kernels=[x]", "kernels"),
    ("search --data digits --latency 60% --space nowhere", "unknown space 'nowhere'"),
    ("search --data digits --latency 60% data.resolution=4", "at least 8"),
    ("search --data digits --latency 60% data.flip=maybe", "data.flip"),
    ("search --data digits --latency 60% --storage nonsense", "--storage takes the URL"),
    ("search --supernet cifar10 --space fbnet --latency 60%", "leave --space out"),
    ("search --supernet cifar10 --train-time 5min --latency 60%", "leave --train-time out"),
    ("search --supernet cifar10 recipe.epochs=3 --latency 60%", "leave recipe.epochs= out"),
    (
        "search --init cifar10 --space fbnet --latency 60%",
        "mobilenet_v3_small_images; leave --space fbnet",
    ),
    ("search --init ./ofa_mbv3_w1.2 --data digits --latency 60%", "ofa_mbv3_w1.2"),
    ("train --init ./ofa_mbv3_w1.2 --data digits", "ofa_mbv3_w1.2"),
    ("search --init ./unspaced --data digits --latency 60%", "space is missing"),
    ("train --init ./unspaced --data digits", "space is missing"),
    ("search --init ./weightless --data digits --latency 60%", "supernet.safetensors is missing"),
    ("search --init cifar10 --data digits --latency 60% space.kernels=[3]", "do not fit the space"),
    (
        "search --supernet cifar10 --data ./few --latency 60%",
        "its classes are a, b, those of the training were airplane, automobile, bird, cat, ... (10)",
    ),
    ("search --supernet cifar10 --data ./cifar --latency 60%", "it has 30 images, the training had 60,000"),
    ("search --supernet cifar10 --data digits --latency 60%", "it is data=digits, the training had data=folder"),
    (
        "search --supernet cifar10 --data ./cifar --resolution 64 --latency 60%",
        "--resolution 64 is not what cifar10 was trained with, 32; leave it out",
    ),
    (
        "search --supernet cifar10 --data ./cifar data.seed=3 --latency 60% --precision auto",
        "data.seed=3 is not what cifar10 was trained with, 0; leave it out",
    ),
    ("search --latency 60% accelerator=cuda", "finds no NVIDIA GPU"),
    ("finetune RUN accelerator=cuda", "finds no NVIDIA GPU"),
    ("search --data ./rare --latency 60%", "class 'b' has 2 images; splitting needs at least 3"),
    (
        "search --data digits --latency 60% --train-time 1min recipe.epochs=3",
        "--train-time and recipe.epochs= both say how long the training is; leave one of them out",
    ),
    ("train --data digits --train-time 1min recipe.epochs=3", "both say how long the training is"),
    ("finetune RUN --train-time 1min epochs=3", "--train-time and epochs= both say how long the training is"),
    ("train --data ./rare", "class 'b' has 2 images; splitting needs at least 3"),
    (
        "search --macs 60% space.depths=[1] space.kernels=[3] space.expansions=[2] space.resolutions=[32]",
        "has 1 network with these settings, and a search needs at least 5",
    ),
    ("search --from file --latency 60% --data ./few", "leave --data out"),
    ("search --from file --latency 60% candidates=10", "leave candidates= out"),
    ("search --data digits --latency 60% --supernet nowhere", "nowhere is no trained supernet"),
    ("search --data digits --latency 60% --format foo", "unknown format 'foo'"),
    ("search --data digits --latency 60% --precision auto --format foo", "unknown format 'foo'"),
    ("search --data digits --latency 60% --precision auto --strategy foo", "strategy"),
    ("search --data digits --latency 60% --precision int4", "unknown precision 'int4'"),
    ("search --data ./few --latency 60% --precision int8", "int8 needs at least 16 training images"),
    ("search --data ./few --latency 60% --device cpu-int8", "int8 needs at least 16 training images"),
    ("search --data ./few --latency 60% --precision auto", "int8 needs at least 16 training images"),
    ("search --supernet cifar10 --latency 60% --precision auto", "--precision auto needs labelled images"),
    ("search --supernet cifar10 --latency 60% objective=balanced_accuracy", "balanced_accuracy needs labelled images"),
    ("search --data digits --latency 60% --out file", "is a file"),
    ("search --data digits --latency 60% --out /proc/x", "/proc"),
    ("search --data digits --latency 60% runs=file", "file is a file, not a folder; name another folder for supernets"),
    ("search --data digits --latency 60% runs=file --out elsewhere", "is a file, not a folder"),
    ("fit --device pixel runs=file --out elsewhere", "is a file, not a folder"),
    ("measure --device cpu --samples 2 runs=file --out elsewhere", "is a file, not a folder"),
    ("measure --device x --import few.csv runs=file --out elsewhere", "is a file, not a folder"),
    ("search --data digits --latency null", "'null' is not a budget"),
    ("search --data digits --latency 1e-320ms", "1e-320ms"),
    ("search --data digits --macs 60% objective=mnas", "objective=mnas weighs accuracy against latency"),
    ("search --data digits --latency 60% objective=nasnet", "objective must be accuracy, balanced_accuracy or mnas"),
    ("search --data digits --latency 60% batch=0", "batch must be at least 1"),
    ("search --data digits --latency 60% batch=100000000", "batch must be at most"),
    ("search --data digits --latency 60% samples=0", "samples must be at least 1"),
    ("search --data digits --latency 60% finalists=0", "finalists must be at least 1"),
    ("search --data digits --latency 60% max_accuracy_drop=nan", "max_accuracy_drop"),
    ("search --data digits --latency 60% accelerator=tpu", "accelerator must be"),
    ("search --data digits --latency 60% --seed -1", "--seed must be at least 0"),
    ("train experiment=slurm recipe=ofa", "experiment=slurm is for the runs of a sweep; add -m"),
    ("search --macs 60% hydra/launcher=joblib", "hydra/launcher=joblib is for the runs of a sweep; add -m"),
    ("train -m recipe=glob(x*)", "recipe=glob(x*) names none of adapt, "),
    ("train -m recipe=interval(1,2)", "is an interval, and recipe takes names"),
    ("train -m recipe=choice(ofa,bginas)", "unknown recipe 'bginas'"),
    ("search experiment=demo --supernet cifar10", "leave experiment=demo out, or --supernet"),
    ("search experiment=dmeo", "unknown experiment 'dmeo'; known: demo"),
    ("train data.root=./few", "--data ./few"),
    ("train --data cifar10", "data=cifar10 needs the folder of its images: data.root=PATH"),
    ("train data=cifar10 data.root=empty --space mobilenet_v3", "CIFAR-10 at 224 pixels takes 9.0 GB"),
    ("train data=cifar10 data.root=empty --resolution 96", "type --resolution 64 (0.7 GB), data.memory_gb=2, or"),
    ("train data=folder", "data=folder needs the folder of its images: data.root=PATH"),
    ("search --latency 60% --evaluations 200", "--evaluations is of no use here: the images of cifar10 do not come"),
    ("search --latency 60% --storage sqlite:///x.db", "leave it out, or type --supernet cifar10 --data PATH"),
    ("search --latency 60% objective=balanced_accuracy", "type --supernet cifar10 --data PATH"),
    ("fit --device cpu --seed 1", "unknown flag --seed"),
    ("measure --device x --import few.csv --suggest", "leave one of them out"),
    ("measure --device x --import few.csv --samples 5", "a CSV file is taken whole; leave --samples out"),
    ("search --data digits --latency 60% --threads 2", "type --device-threads N for the CPU threads of one inference"),
    ("train --data digits --threads 2", "or threads=N for those of training"),
    ("measure --device-threads 0", "device_threads must be at least 1"),
    ("train threads=0", "threads must be at least 1"),
    ("train threads=true", "threads"),
    ("evaluate few random=20000", "random must be at most 10,000, got 20000"),
    ("measure --device cpu --samples 20000", "samples must be at most 10,000, got 20000"),
    ("measure --device cpu --batch 5000", "batch must be at most 4,096, got 5000"),
    *((f"worker --storage sqlite:///x.db idle_s={wrong}", "idle_s") for wrong in ("inf", "nan", "-1", "1e9")),
    *(
        (f"{verb} --device {name}", "--device must be a plain name")
        for verb in ("measure", "fit")
        for name in ("devices/board.yaml", "192.168.1.20:5555")
    ),
    ("search --supernet ./searched --latency 60%", "but a search; its supernet is runs/train/photos"),
    ("train --init ./searched", "the weights that it has are --init runs/train/photos"),
    ("evaluate ./searched", "but a search; its supernet is runs/train/photos"),
    ("export ./weightless", "but a trained supernet; to search in it, type: nas search --supernet weightless"),
    ("finetune ./weightless", "but a trained supernet"),
    ("report ./weightless", "but a trained supernet"),
    ("search --macs 60% hydra.sweep.dir=x", "hydra.sweep.dir is for the runs of a sweep; add -m"),
    ("train -m seed=1,2 hydra.sweep.dir=x --out y", "both name the folder of the sweep; leave one out"),
    ("train name=../../evil", "must be a plain name"),
    ("train hydra=null", "refused"),
    ("train +=1", "is not key=value"),
    ("train =1", "is not key=value"),
    ("train sed=1", "no setting 'sed'"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    images(home / "few", {"a": 6, "b": 6})
    images(home / "one", {"a": 6})
    images(home / "rare", {"a": 6, "b": 2})
    images(home / "cifar", dict.fromkeys(CIFAR10, 3))
    (home / "ofa_mbv3_w1.2").write_text("<html>")
    card = json.loads((find_supernet("cifar10") / CARD).read_text())
    for name, left_out in (("weightless", ""), ("unspaced", "space")):
        (home / name).mkdir()
        (home / name / CARD).write_text(json.dumps({key: card[key] for key in card if key != left_out}))
    (home / "searched").mkdir()
    (home / "searched" / "result.json").write_text('{"supernet": "runs/train/photos"}')
    (home / "empty").mkdir()
    (home / "file").touch()
    rows = "r32-k3e2-k3e2-k3e2-k3e2-k3e2,0.8\n"
    (home / "few.csv").write_text(f"space,architecture,latency_ms\nmobilenet_v3_small_images,{rows}")
    return home


@pytest.mark.parametrize(("line", "said"), MISTAKES)
def test_refused(
    line: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*arguments: object, **settings: object) -> None:
        raise AssertionError("something was measured or trained")

    monkeypatch.chdir(home)
    monkeypatch.setattr("nas.pipeline.search.learn_device", never)
    monkeypatch.setattr("nas.pipeline.precisions.learn_device", never)
    monkeypatch.setattr("nas.pipeline.search.get_supernet", never)
    monkeypatch.setattr("nas.devices.device.Device._measure", never)
    monkeypatch.setattr("nas.cli.verbs.fit.device_predictor", never)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["nas"])
    before = sorted(home.rglob("*"))
    code = main(line.split())
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert len(captured.err) < 1_500
    assert captured.out == ""
    assert sorted(home.rglob("*")) == before


def test_a_long_value_is_cut(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home)
    for words in (["search", "--device", "x" * 10_000, "--macs", "1M"], ["train", "--data", "x" * 300], ["x" * 10_000]):
        assert main(words) == 2
        assert len(capsys.readouterr().err) < 1_500


def test_markup_in_a_path_is_shown_as_it_is(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("nas")), "search", "--device", "pixel", "--latency", "2ms"]
    done = subprocess.run(
        [*command, "--out", "out[red]y:smile:[/x]", "candidates=300"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "out[red]y:smile:[/x]/report.html" in done.stdout


def test_the_module_runs_too(tmp_path: Path) -> None:
    for module in ("nas", "nas.cli.main"):
        done = subprocess.run(
            [sys.executable, "-m", module, "sarch"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "unknown verb 'sarch'" in done.stderr
