"""What ``--model`` and ``--weights`` take, and what they refuse in one sentence."""

import importlib
import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from nas.elastic import ChannelScale
from nas.tracing import adopt, load_model, start_from
from search_spaces import get_space
from tests.nas.tracing.user_networks import ForSmallImages, Small, lazy

OWN = "tests.nas.tracing.user_networks"
SIDE = 64


class Payload:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "executed")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that exists where pickled code was executed."""
    return tmp_path / "executed"


def export(path: Path, module: nn.Module, batch: int = 1, **options: object) -> Path:
    program = torch.export.export(module.eval(), (torch.randn(batch, 3, SIDE, SIDE),), **options)  # type: ignore[arg-type]
    torch.export.save(program, path)
    return path


def images(side: int = SIDE) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))


def test_a_users_own_network_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = Small().eval()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in module.state_dict().items()}, "epoch": 3}, tmp_path / "a.pth"
    )
    save_file(module.state_dict(), tmp_path / "a.safetensors")
    for file in ("a.pth", "a.safetensors"):
        model = load_model(f"{OWN}:small", tmp_path / file, resolution=SIDE)
        assert model.trained
        adopted = adopt(model)
        with torch.inference_mode():
            torch.testing.assert_close(adopted.supernet(images()), module(images()), rtol=1e-4, atol=1e-4)
    kinds = {gene.kind for gene in adopted.space.genes if len(gene.values) > 1}
    assert kinds == {"resolution", "depth", "expansion"}
    # A batch-norm without weights of its own has them then, so that it can be trained and calibrated like others.
    ours = sum(p.numel() for p in module.parameters()) + 2 * module.norm.num_features
    assert adopted.space.costs(adopted.space.max).params[0] == ours
    assert sum(key.endswith("running_var") for key in adopted.supernet.state_dict()) == 2


def test_training_starts_from_what_is_there() -> None:
    adopted = adopt(load_model(f"{OWN}:small", resolution=SIDE))
    same = start_from(adopted, adopted.space)
    assert same.new == ()
    with torch.inference_mode():
        given = adopted.supernet(images())
        torch.testing.assert_close(same.supernet.eval()(images()), given, rtol=1e-4, atol=1e-5)
    space = adopted.space
    other = start_from(adopted, get_space(space.name, **space.options | {"num_classes": 7}))
    assert [name.rsplit(".", 3)[-3:] for name in other.new] == [
        ["classify", "linear", "weight"],
        ["classify", "linear", "bias"],
    ]
    assert other.supernet.eval()(images()).shape == (2, 7)
    assert other.supernet.space.num_classes == 7
    kept = {key: tensor for key, tensor in other.supernet.state_dict().items() if key not in other.new}
    assert all(
        torch.equal(tensor, same.supernet.state_dict()[key]) for key, tensor in kept.items() if "head" not in key
    )


def test_channels_are_sorted_by_the_classifier_that_was_given() -> None:
    """The features that it alone reads too, whatever the new one is like."""
    adopted = adopt(load_model(f"{OWN}:convolutional", resolution=SIDE))
    same = start_from(adopted, adopted.space).supernet.state_dict()
    other = get_space(adopted.space.name, **adopted.space.options | {"num_classes": 7})
    for seed in (0, 1):
        start = start_from(adopted, other, seed)
        weights = start.supernet.state_dict()
        assert len(start.new) == 2
        assert all(torch.equal(weights[key], same[key]) for key in weights.keys() - set(start.new))


def test_windows_are_cropped_as_far_as_their_padding_allows() -> None:
    adopted = adopt(load_model(f"{OWN}:windows", resolution=SIDE))
    space, supernet = adopted.space, adopted.supernet
    assert [gene.values for gene in space.genes if gene.kind == "kernel"] == [(5, 7), (3, 5)]
    supernet.activate(space.min)
    assert supernet.eval()(images(supernet.resolution)).shape == (2, 4)


@pytest.mark.parametrize("network", ["copying", "gated"])
def test_copies_worked_on_in_place_and_gates_expanded_and_taken_from_one_give_the_same(network: str) -> None:
    model = load_model(f"{OWN}:{network}", resolution=SIDE)
    adopted = adopt(model)
    assert model.module is not None
    with torch.inference_mode():
        torch.testing.assert_close(adopted.supernet(images()), model.module(images()), rtol=1e-4, atol=1e-4)


def test_a_constant_behind_the_classifier_stays_with_other_classes() -> None:
    adopted = adopt(load_model(f"{OWN}:gated", resolution=SIDE))
    start = start_from(adopted, get_space(adopted.space.name, **adopted.space.options | {"num_classes": 7}))
    assert [name.rsplit(".", 2)[-2:] for name in start.new] == [["conv", "weight"], ["conv", "bias"]]
    (scale,) = [module for module in start.supernet.classifying() if isinstance(module, ChannelScale)]
    torch.testing.assert_close(scale.weight, torch.full((7,), 1 / 0.07))


def test_what_the_supernet_has_not_in_common_with_the_given_network_is_said() -> None:
    model = load_model(f"{OWN}:repeated", resolution=SIDE)
    shared, dropout, depth = adopt(model, [SIDE]).notes
    assert model.module is not None
    given = sum(p.numel() for p in model.module.parameters())
    block = 32 * 32 * 9 + 3 * 32
    assert shared.endswith(f"each use gets weights of its own: {given + 2 * block:,} parameters instead of {given:,}")
    assert dropout.endswith("(0.4) is left out; recipe.dropout=0.4 puts one before the classifier")
    assert depth.endswith("(up to 0.2) is left out")


def test_layers_that_take_their_sizes_from_the_images(tmp_path: Path) -> None:
    module = lazy().eval()
    module(images())
    torch.save(module.state_dict(), tmp_path / "w.pth")
    for weights in (tmp_path / "w.pth", None):
        adopted = adopt(load_model(f"{OWN}:lazy", weights, resolution=SIDE))
        if weights is not None:
            with torch.inference_mode():
                torch.testing.assert_close(adopted.supernet(images()), module(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_program_of_other_numbers_is_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype).eval()
    torch.export.save(torch.export.export(module, (images().to(dtype),)), tmp_path / "net.pt2")
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"net\.pt2 was exported for {name}; export it for float32 on the CPU: "):
        load_model(str(tmp_path / "net.pt2"))


def test_a_program_for_another_device_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "net.pt2", nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))

    def moved(content: bytes) -> bytes:
        return content.replace(b'"type": "cpu"', b'"type": "cuda"')

    with pytest.raises(ValueError, match="was exported for the device cuda; export it for float32 on the CPU"):
        load_model(str(changed(path, models__model=moved)))


def test_a_network_for_one_size_says_so_once() -> None:
    adopted = adopt(load_model(f"{OWN}:for_small_images", resolution=32))
    assert adopted.space.resolutions == (32,)
    (note,) = adopted.notes
    assert "cannot take images of 20, 24, 28 pixels" in note
    assert (adopted.space.n_choices > 1).sum() >= 2
    assert adopted.space.costs(adopted.space.max).params[0] == sum(p.numel() for p in ForSmallImages().parameters())


@pytest.mark.parametrize("network", ["pooled_by_its_size", "averaged_twice"])
def test_a_global_pooling_written_by_hand_keeps_the_resolutions(network: str) -> None:
    model = load_model(f"{OWN}:{network}", resolution=SIDE)
    adopted = adopt(model)
    assert adopted.notes == ()
    assert len(adopted.space.resolutions) == 4
    assert model.module is not None
    with torch.inference_mode():
        torch.testing.assert_close(adopted.supernet(images()), model.module(images()), rtol=1e-4, atol=1e-4)


def test_a_pooling_of_one_size_alone_does_not() -> None:
    adopted = adopt(load_model(f"{OWN}:pooled_at_one_size", resolution=SIDE))
    assert adopted.space.resolutions == (SIDE,)
    assert "cannot take images of" in adopted.notes[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_an_exported_program(tmp_path: Path, batch: int) -> None:
    module = Small().eval()
    model = load_model(str(export(tmp_path / "net.pt2", module, batch)))
    assert (model.label, model.resolution) == ("net", SIDE)
    with pytest.raises(ValueError, match=r"net\.pt2 was exported for images of 64 pixels, not for --resolution 32"):
        load_model(str(tmp_path / "net.pt2"), resolution=32)
    adopted = adopt(model)
    with torch.inference_mode():
        torch.testing.assert_close(adopted.supernet(images()), module(images()), rtol=1e-4, atol=1e-4)


def test_an_exported_program_of_any_batch_or_in_basic_operators(tmp_path: Path) -> None:
    module = Small().eval()
    batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    program = torch.export.export(module, (images(),)).run_decompositions()
    torch.export.save(program, tmp_path / "basic.pt2")
    for path in (export(tmp_path / "any.pt2", module, 2, **batch), tmp_path / "basic.pt2"):
        adopted = adopt(load_model(str(path)))
        with torch.inference_mode():
            torch.testing.assert_close(adopted.supernet(images()), module(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet18", r"'resnet18' names no network; known forms: torchvision:NAME"),
        ("torchvision:resnet17", r"torchvision has no classification network 'resnet17'; similar: resnet18"),
        ("torchvision:deeplabv3_resnet50", "torchvision has no classification network"),
        ("nowhere.at_all:build", "there is no Python module nowhere.at_all"),
        ("../evil:build", "names no network"),
        (f"{OWN}:missing", "has no function missing"),
        (f"{OWN}:not_a_function", "has no function not_a_function"),
        (f"{OWN}:raising", r"could not be made: RuntimeError: the licence file is missing$"),
        (f"{OWN}:no_network", "gave a int, not a torch.nn.Module"),
        (f"{OWN}:with_argument", "could not be made: TypeError"),
        (f"{OWN}:deciding", r"cannot be exported \(module inner\): .*data-dependent"),
        (f"{OWN}:two_inputs", "fails on images of 64 pixels: TypeError: .*missing 1 required positional argument"),
        (f"{OWN}:two_outputs", "gives a tuple, not one tensor of class scores"),
        (f"{OWN}:dense_labels", "output is not one row of class scores an image"),
        (
            f"{OWN}:of_pixels",
            r"module norm \(BatchNorm1d\) uses .*batch-norm of a flattened map has statistics of each",
        ),
        (
            f"{OWN}:dropping",
            r"its dropout is on in evaluation mode too; write F.dropout\(x, p, training=self.training\)",
        ),
        (f"{OWN}:repeating", "repeating is known of maps of one pixel that are then added or multiplied"),
        (f"{OWN}:softmax", r"module last \(Softmax\) uses the operator aten.softmax.int, which cannot be made elastic"),
        ("net.pt2", "there is no file net.pt2"),
    ],
)
def test_what_cannot_become_elastic_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        adopt(load_model(text, resolution=SIDE))
    assert "\n" not in str(raised.value)


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.errors import MissingExtra

    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"timm is not installed; .*\[timm\]"):
        load_model("timm:mobilenetv4_conv_small")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "mnasnet0_5", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_weights_says_how_many_classes_there_are(tmp_path: Path, name: str, suffix: str) -> None:
    state = get_model(name, num_classes=7).state_dict()
    path = tmp_path / f"w.{suffix}"
    torch.save(state, path) if suffix == "pth" else save_file(state, path)
    model = load_model(f"torchvision:{name}", path, resolution=SIDE)
    assert model.module is not None
    found = model.module.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())
    assert model.module(images()).shape == (2, 7)


def test_weights_of_another_network_are_refused_key_by_key(tmp_path: Path) -> None:
    state = Small(7).state_dict()
    del state["stem.0.weight"]
    state["extra"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pth")
    expected = (
        r"1 are missing \(stem.0.weight\); 1 are not in the network \(extra\); 2 have another shape "
        r"\(classify.bias: 7 in the file, 4 in the network, classify.weight: 7x64 in the file, 4x64 in the network\)"
    )
    with pytest.raises(ValueError, match=expected):
        load_model(f"{OWN}:small", tmp_path / "w.pth")
    save_file({key: tensor * float("nan") for key, tensor in Small().state_dict().items()}, tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match="weights that are not finite numbers"):
        load_model(f"{OWN}:small", tmp_path / "n.safetensors")


@pytest.mark.parametrize("name", ["missing.pth", "garbage.pth", "garbage.safetensors", "list.pth", "empty.pth"])
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("garbage"):
        path.write_bytes(b"not weights at all" * 10)
    elif name.startswith("list"):
        torch.save([torch.zeros(3)], path)
    elif name.startswith("empty"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="there is no weights file|damaged|holds no state dict") as raised:
        load_model(f"{OWN}:small", path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_pickled_code_among_weights_is_not_executed(tmp_path: Path, mark: Path, how: str) -> None:
    path = tmp_path / "w.pth"
    if how == "torch.save":
        torch.save({"state_dict": Small().state_dict(), "callback": Payload(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(ValueError, match="holds pickled code|damaged or was not written"):
        load_model(f"{OWN}:small", path)
    whole = tmp_path / "whole.pth"
    torch.save(Small(), whole)
    with pytest.raises(ValueError, match=r"holds pickled code, which is never executed here; .*state_dict"):
        load_model(f"{OWN}:small", whole)
    assert not mark.exists()


def changed(path: Path, **parts: bytes | Callable[[bytes], bytes]) -> Path:
    """The archive with some parts, named by their last word, replaced or added."""
    result = path.with_name(f"changed{len(list(path.parent.iterdir()))}.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            for key, part in parts.items():
                if name.endswith(key.replace("__", "/") + Path(name).suffix) and callable(part):
                    content = part(content)
            new.writestr(name, content)
        for key, part in parts.items():
            if not callable(part):
                new.writestr(f"net/{key.replace('__', '/')}", part)
    return result


def test_pickled_code_in_an_exported_program_is_not_executed(tmp_path: Path, mark: Path) -> None:
    path = export(tmp_path / "net.pt2", Small())
    buffer = io.BytesIO()
    torch.save((Payload(mark),), buffer)
    code = pickle.dumps(Payload(mark), protocol=0)

    def pickled_weight(content: bytes) -> bytes:
        table = json.loads(content)
        next(iter(table["config"].values()))["use_pickle"] = True
        return json.dumps(table).encode()

    def called_size(content: bytes) -> bytes:
        model = json.loads(content)
        model["range_constraints"] = {}
        model["extra"] = {"expr_str": "__import__('os').system('touch x')"}
        return json.dumps(model).encode()

    def called_target(content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.cat.default", b"torch.os.system")

    for archive, message in (
        (changed(path, data__sample_inputs__model=lambda _: buffer.getvalue()), "holds pickled code"),
        (changed(path, data__sample_inputs__model=lambda _: code), "holds pickled code"),
        (changed(path, data__weights__model_weights_config=pickled_weight), "holds pickled code"),
        (changed(path, **{"data__constants__custom_obj_0": code}), "holds pickled code"),
        (changed(path, **{"data__aotinductor__net.so": b"\x7fELF"}), "holds pickled code"),
        (changed(path, models__model=called_size), "symbolic size that is no plain sum"),
        (changed(path, models__model=called_target), "not one of torch's own operators"),
    ):
        with pytest.raises(ValueError, match=message):
            load_model(str(archive))
    torch.save(Small(), tmp_path / "whole.pt2")
    with pytest.raises(ValueError, match="holds pickled code"):
        load_model(str(tmp_path / "whole.pt2"))
    (tmp_path / "text.pt2").write_text("nothing")
    with pytest.raises(ValueError, match="no file written by torch.export.save"):
        load_model(str(tmp_path / "text.pt2"))
    with pytest.raises(ValueError, match="brings its own weights"):
        load_model(str(path), tmp_path / "w.pth")
    assert not mark.exists()


def test_code_that_was_edited_after_it_was_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, model = "from torch import nn\ndef make(): return nn.Conv2d(3, {}, 1)\n", "edited_network:make"
    file = tmp_path / "edited_network.py"
    file.write_text(code.format(8))
    for _ in range(2):
        assert load_model(model).module.out_channels == 8
    file.write_text(code.format(16))
    with pytest.raises(ValueError, match=r"edited_network\.py has changed .* importlib\.reload\(edited_network\)"):
        load_model(model)
    importlib.reload(sys.modules["edited_network"])
    assert load_model(model).module.out_channels == 16
