"""The scripts in examples/ do what they say."""

import importlib.util
from pathlib import Path

from matplotlib.image import imread

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_observer(tmp_path):
    spec = importlib.util.spec_from_file_location("observer_example", EXAMPLES / "observer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.main(["--out", str(tmp_path)])
    assert result.resolution < 18
    pictures = sorted(tmp_path.glob("iteration_*.png"))
    assert len(pictures) == len(result.history)
    assert all(imread(path).std() > 0.1 for path in pictures)
    assert (tmp_path / "run" / "run_data.star").exists()
