"""`make pictures`: put the pictures that the browser tests took into the documentation.

In 64 colours, since they are kept in git: a display has few.
"""

from pathlib import Path

from conftest import PICTURES, ROOT
from gallery import gallery
from PIL import Image

TARGET = ROOT / "docs" / "pictures"
DARK = ("model", "version", "history")


def main():
    """Replace all of them, so that no picture of what is no more stays."""
    wanted = [f"{name}-light" for name in gallery("memory://names")]
    wanted += [f"{name}-dark" for name in DARK] + [
        f"model-untrusted-{t}" for t in ("light", "dark")
    ]
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.png"):
        old.unlink()
    for name in wanted:
        picture = Image.open(Path(PICTURES) / f"{name}.png").convert("RGB")
        picture.quantize(64).save(TARGET / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
