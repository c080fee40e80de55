"""Classify images with an exported TFLite network, float32 or int8. Needs ai-edge-litert, NumPy and Pillow.

    python classify_tflite.py subnet.int8.tflite photo.jpg ...

Classes and normalisation come from the JSON file beside the network: keep the two together.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def read_image(path: Path, side: int, stored: int, value_range: list[float] | None = None) -> np.ndarray:
    """The middle square of an image, (side, side, 3) in [0, 1]; by way of the side `stored`, as in training."""
    with Image.open(path) as picture:
        picture.draft("RGB", (stored, stored))  # lets JPEG decode at a fraction of its size
        picture.load()
        try:
            orientation = picture.getexif().get(0x0112, 1)  # how the camera was held
        except Exception:  # what Pillow's reader stumbles over is not needed
            orientation = 1
        turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's numbers of the way back
        if picture.mode.startswith(("I", "F")):  # 16 bits and more: by the range of the training images
            values = np.asarray(picture).astype(np.float64)
            values[~np.isfinite(values)] = np.nan
            low, high = np.nanmin(values), np.nanmax(values)
            ranges = {"F": (1, 255, 65535), "I": (255, 65535)}.get(picture.mode, (65535,))  # where none is known
            usual = next(((0, full) for full in ranges if low >= 0 and high <= full), (low, high))
            low, high = value_range or usual
            grey = np.nan_to_num((values - low) / ((high - low) or 1) * 255).clip(0, 255)
            grey[values == picture.info.get("transparency")] = 255
            rgb = Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
        elif picture.has_transparency_data:  # on white
            picture = picture.convert("RGBA")
            rgb = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        else:
            rgb = picture.convert("RGB")
    upright = rgb.transpose(turns[orientation]) if orientation in turns else rgb
    square = ImageOps.fit(upright, (stored, stored), Image.Resampling.BICUBIC)
    return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32) / 255


def main(model: Path, photos: list[Path]) -> None:
    """Print the likeliest class of each photo."""
    about = json.loads(model.with_name(model.name + ".json").read_text(encoding="utf-8"))
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    side = about["resolution"]
    stored = about.get("stored_resolution", side)
    for photo in photos:
        image = (read_image(photo, side, stored, about.get("value_range")) - about["mean"]) / about[
            "std"
        ]  # (side, side, 3)
        if source["dtype"] == np.int8:  # integers stand for scale * (integer - zero_point)
            scale, zero_point = source["quantization"]
            image = np.clip(np.round(image / scale + zero_point), -128, 127)
        batch = image[None].repeat(source["shape"][0], axis=0)  # as many as the file takes at once
        interpreter.set_tensor(source["index"], batch.astype(source["dtype"]))
        interpreter.invoke()
        logits = interpreter.get_tensor(result["index"])[0].astype(np.float32)  # (classes,)
        if result["dtype"] == np.int8:
            scale, zero_point = result["quantization"]
            logits = (logits - zero_point) * scale
        chances = np.exp(logits - logits.max())
        best = int(logits.argmax())
        print(f"{photo}: {about['classes'][best]} ({chances[best] / chances.sum():.1%})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python classify_tflite.py MODEL.tflite IMAGE ...")
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
