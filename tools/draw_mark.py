"""Draws `src/duikou/provenance/mark.png`, the letters of the visible mark, with an openly licensed font.

    npm pack @expo-google-fonts/noto-sans-sc@0.4.3 && tar xzf expo-google-fonts-noto-sans-sc-0.4.3.tgz
    python tools/draw_mark.py package/500Medium/NotoSansSC_500Medium.ttf

The font is Noto Sans SC (SIL Open Font License 1.1, which does not cover pictures made with it). Needs Pillow.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TEXT = "AI合成"  # GB 45438-2025: one word for artificial intelligence, one for generation or synthesis
SIZE = 160  # px: more than a mark on a 4K picture needs
OUTPUT = Path(__file__).parents[1] / "src/duikou/provenance/mark.png"


def main(font: str) -> None:
    """Write the letters, white on black, cropped to their ink."""
    image = Image.new("L", (SIZE * (len(TEXT) + 1), SIZE * 2))
    ImageDraw.Draw(image).text((SIZE // 2, SIZE // 4), TEXT, font=ImageFont.truetype(font, SIZE), fill=255)
    image.crop(image.getbbox()).save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
