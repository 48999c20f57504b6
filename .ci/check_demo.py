"""Check the figures of a finished demo: check_demo.py DIR [SHARED].

The corrected half-map FSC of the map must reach 0.143 at 16.5 Å or better; where the maintainers' data folder SHARED is
there, the FSC to the published structure inside its mask must stay at 0.5 or more out to 16.5 Å as well.
"""

import json
import sys
from pathlib import Path

from pycryo.io.mrc import read_map
from pycryo.maps.fsc import fsc, resolution_at

LIMIT = 16.5  # Å


def main() -> int:
    folder = Path(sys.argv[1])
    for name in ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_data.star"):
        assert (folder / name).is_file(), f"{folder / name} is missing"
    for name in ("run_fsc.star", "run_fsc.xml", "report.html", "RELION_JOB_EXIT_SUCCESS"):
        assert (folder / name).is_file(), f"{folder / name} is missing"
    resolution = json.loads((folder / "run.json").read_text(encoding="utf-8"))["resolution"]
    print(f"demo: half-maps correlate to {resolution:.2f} Å (limit {LIMIT} Å)")
    good = resolution <= LIMIT
    truth = Path(sys.argv[2]) / "data" / "betagal" if len(sys.argv) > 2 else Path()
    if (truth / "5a1a_density.mrc").is_file():
        mask = read_map(truth / "5a1a_mask.mrc").data
        found, known = read_map(folder / "run_class001.mrc"), read_map(truth / "5a1a_density.mrc")
        to_truth = resolution_at(fsc(found.data * mask, known.data * mask), known.box, known.pixel_size, 0.5)
        print(f"demo: map agrees with 5A1A to {to_truth:.2f} Å at FSC 0.5 (limit {LIMIT} Å)")
        good = good and to_truth <= LIMIT
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
