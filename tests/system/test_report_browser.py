"""The report in a browser without a window: no error, the surface drawn, its controls; and without JavaScript."""

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from pycryo.cli.main import main
from pycryo.report.surface import plotly_script

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
# WebGL by the processor: nothing of the machine's graphics is needed.
WORDS = ("--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-gl=angle", "--use-angle=swiftshader")
WORDS += ("--enable-unsafe-swiftshader", "--hide-scrollbars", "--no-first-run", "--disable-background-networking")
# No name leads anywhere: a page that needs the network fails.
WORDS += ("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=60000", "--window-size=1240,1000")

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt-get install -y chromium"),
    pytest.mark.skipif(plotly_script() is None, reason="plotly is not installed"),
]

# Put before all else: what goes wrong is written down, and when the surface is there its level is changed by hand.
RECORDER = """<script>
const faults = [], told = {};
addEventListener("error", (event) => faults.push(String(event.message)));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
for (const name of ["error", "warn"]) console[name] = (...words) => faults.push(words.join(" "));
// That a closed surface encloses, by the theorem of Gauss; below 0 if its triangles are seen from within.
const volume = ({ x, y, z, i, j, k }) => i.reduce((sum, a, place) => {
  const [b, c] = [j[place], k[place]];
  const cross = [y[b] * z[c] - z[b] * y[c], z[b] * x[c] - x[b] * z[c], x[b] * y[c] - y[b] * x[c]];
  return sum + (x[a] * cross[0] + y[a] * cross[1] + z[a] * cross[2]) / 6;
}, 0);
const write = () => { document.documentElement.dataset.told = JSON.stringify({ ...told, faults }); };
addEventListener("DOMContentLoaded", async () => {
  const place = document.getElementById("surface");
  for (let k = 0; place.dataset.state === undefined && k < 500; k++) await new Promise((go) => setTimeout(go, 50));
  told.state = place.dataset.state;
  const plot = place.querySelector(".turn"), slider = place.querySelector("input");
  told.first = place.querySelector("output").textContent;
  told.picture = await Plotly.toImage(plot, { format: "png", width: 400, height: 400 });
  told.volume = volume(plot.data[0]);
  slider.value = "200";
  slider.dispatchEvent(new Event("input"));
  await new Promise((go) => setTimeout(go, 500));
  told.second = place.querySelector("output").textContent;
  told.smaller = await Plotly.toImage(plot, { format: "png", width: 400, height: 400 });
  told.buttons = [...place.querySelectorAll(".modebar-btn")].map((each) => each.getAttribute("data-title"));
  told.hidden = getComputedStyle(place.querySelector(".still")).display;
  write();
});
write();
</script>"""


@pytest.fixture(scope="module")
def report(tiny_set, tmp_path_factory):
    """The page of a run, and what its first section says without JavaScript."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(folder)]
    assert main([*words, "--max-iter", "2", "--quiet"]) == 0
    return folder / "report.html"


def browse(folder, page, *words):
    """What the browser prints of a page."""
    command = [BROWSER, *WORDS, f"--user-data-dir={folder / 'profile'}", *words, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


def blue(image):
    """(height, width) where the surface's blue is, of whatever brightness."""
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.int64), 2, 0)
    return (blue > red + 25) & (blue > green + 5) & (green > red)


def decoded(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def test_the_surface_is_drawn_and_follows_its_level(report, tmp_path):
    page = tmp_path / "recorded.html"
    page.write_text(report.read_text("utf-8").replace("<head>", f"<head>{RECORDER}", 1), "utf-8")
    found = re.search(r'data-told="([^"]*)"', browse(tmp_path, page, "--dump-dom"))
    told = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert told["faults"] == []
    assert told["state"] == "drawn"
    drawn, smaller = (int(blue(decoded(told[name])).sum()) for name in ("picture", "smaller"))
    assert 400 < smaller < drawn < 120_000
    first, second = (float(re.search(r"encloses ([\d.]+) nm³", told[name])[1]) for name in ("first", "second"))
    assert first > second
    # The net of squares lies where the voxels do: it cuts off corners, of a surface of few voxels 5 %.
    assert told["volume"] / 1000 == pytest.approx(first, rel=0.05, abs=0.6)
    # The sentence below, of the same level, counts in Python.
    assert f"It encloses {first:.0f} nm³" in report.read_text("utf-8")
    # Nothing that would send data away.
    assert told["buttons"] == ["Download plot as a PNG", "Reset camera to default"]
    assert told["hidden"] == "none"


@pytest.mark.slow
@pytest.mark.parametrize("has_scripts", [True, False])
def test_the_page_shows_the_map_in_either_case(report, tmp_path, has_scripts):
    text = report.read_text("utf-8")
    page = tmp_path / "page.html"
    page.write_text(text if has_scripts else re.sub("<script.*?</script>", "", text, flags=re.DOTALL), "utf-8")
    browse(tmp_path, page, f"--screenshot={tmp_path / 'page.png'}")
    image = Image.open(tmp_path / "page.png")
    assert image.size == (1240, 1000)
    # The section of the map is in the upper part of the page; its surface takes a good part of it.
    assert blue(image).sum() > 5000


@pytest.mark.slow
def test_on_paper_the_still_picture_is_printed(report, tmp_path):
    browse(tmp_path, report, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert data.count(b"/Subtype /Image") + data.count(b"/Subtype/Image") >= 8
