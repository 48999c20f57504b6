"""Pictures of a report's sections for the guides: ``python docs/report_pictures.py demo_run``; needs Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SECTIONS = {
    "Fourier shell correlation of the half-maps": "report_fsc.png",
    "Sections through the maps": "report_sections.png",
    "Directions of view": "report_views.png",
}
WORDS = (
    "--headless=new",
    "--no-sandbox",
    "--hide-scrollbars",
    "--virtual-time-budget=20000",
    "--window-size=1240,1400",
)


def alone(page: str, title: str) -> str:
    """The page with one section only, without its scripts."""
    found = re.search(rf'<section id="([^"]+)"[^>]*>\s*<h2[^>]*>{re.escape(title)}', page)
    if found is None:
        sys.exit(f"the report has no section {title}")
    shown = f"main, section#{found[1]}, :has(> #{found[1]}) {{ display: block !important }}"
    style = f"<style>body > *, main > *, section {{ display: none !important }} {shown}</style>"
    return re.sub("<script.*?</script>", "", page, flags=re.DOTALL).replace("</head>", f"{style}</head>", 1)


def trimmed(picture: Path, margin: int = 12, width: int = 800) -> Image.Image:
    """The picture without its empty rim, of a width in px, in 96 colours."""
    image = Image.open(picture).convert("RGB")
    pixels = np.asarray(image, np.int64)
    rows, columns = np.nonzero(np.abs(pixels - pixels[0, 0]).sum(axis=2) > 8)
    box = (columns.min() - margin, rows.min() - margin, columns.max() + margin, rows.max() + margin)
    image = image.crop(tuple(int(max(0, edge)) for edge in box))
    return image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS).quantize(96)


def main(folder: Path, images: Path) -> None:
    """One picture of each section in `SECTIONS`."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("there is no Chromium here: apt-get install -y chromium")
    page = (folder / "report.html").read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        for title, file in SECTIONS.items():
            source, picture = Path(name) / "page.html", Path(name) / "page.png"
            source.write_text(alone(page, title), "utf-8")
            words = (*WORDS, f"--user-data-dir={name}/profile", f"--screenshot={picture}", source.as_uri())
            subprocess.run([browser, *words], check=True, capture_output=True, timeout=300)
            trimmed(picture).save(images / file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images")
