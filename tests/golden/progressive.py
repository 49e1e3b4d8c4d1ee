"""Writes progressive.jpg, which tests/tests/pictures.rs cuts everywhere. Needs Pillow."""

from pathlib import Path

from PIL import Image

picture = Image.new("RGB", (64, 48))
for y in range(48):
    for x in range(64):
        picture.putpixel((x, y), (x * 4 % 256, (y * 5 + x) % 256, x * y % 256))
picture.save(Path(__file__).with_name("progressive.jpg"), quality=60, progressive=True)
