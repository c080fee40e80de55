"""Classify images with an exported ONNX network, float32 or int8. Needs onnxruntime, NumPy and Pillow.

    python classify_onnx.py subnet.onnx photo.jpg ...

Everything else (classes, normalisation, size) is in the file itself.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
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
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    fixed = session.get_inputs()[0].shape[0]  # images at once; a name where any number will do
    classes, mean, std = (json.loads(about[key]) for key in ("classes", "mean", "std"))
    side = int(about["resolution"])
    stored = int(about.get("stored_resolution", side))
    value_range = json.loads(about.get("value_range", "null"))
    for photo in photos:
        image = (read_image(photo, side, stored, value_range) - mean) / std  # (side, side, 3)
        batch = image.transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, side, side)
        batch = batch.repeat(fixed if isinstance(fixed, int) else 1, axis=0)  # (fixed, 3, side, side)
        logits = session.run(["logits"], {"images": batch})[0][0]  # (classes,)
        chances = np.exp(logits - logits.max())
        best = int(logits.argmax())
        print(f"{photo}: {classes[best]} ({chances[best] / chances.sum():.1%})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python classify_onnx.py MODEL.onnx IMAGE ...")
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
