"""Every public name of pycryo and of its kernels shows what it does: the examples in the docstrings are executed."""

import doctest

import numpy as np
import pytest

import pycryo

NAMES = {f"pycryo.{name}": getattr(pycryo, name) for name in pycryo.__all__}
NAMES |= {
    f"pycryo.kernels.{name}": value
    for name, value in vars(pycryo.kernels).items()
    if not name.startswith("_") and getattr(value, "__module__", "").startswith("pycryo.") and callable(value)
}
# Without an example, and why.
WITHOUT = {
    "pycryo.RunError": "nobody raises it on purpose",
    "pycryo.InitialModel": "`abinitio` makes it, and shows it",
    "pycryo.Result": "`refine` makes it, and shows it",
    "pycryo.PostprocessResult": "`postprocess` makes it, and shows it",
    "pycryo.LocalResolution": "`localres` makes it, and shows it",
    "pycryo.kernels.ImagePanel": "`pack_images` makes it",
    "pycryo.kernels.SlicePanel": "`pack_slices` makes it",
    "pycryo.kernels.pack_images": "`compare` shows it",
    "pycryo.kernels.pack_slices": "`compare` shows it",
    "pycryo.kernels.new_best": "`compare` shows it",
}


def test_all_names_are_looked_at():
    assert len(NAMES) > 60
    assert set(WITHOUT) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name, tmp_path, monkeypatch):
    """In an empty folder, with `np` and `pycryo`; the section is the last one of the docstring."""
    text = NAMES[name].__doc__
    test = doctest.DocTestParser().get_doctest(text, {"np": np, "pycryo": pycryo}, name, None, 0)
    if name in WITHOUT:
        assert not test.examples
        return
    assert test.examples, f"{name} has no example"
    head, _, section = text.partition("Examples\n")
    assert ">>>" not in head
    assert section.lstrip().startswith("--------\n")
    monkeypatch.chdir(tmp_path)
    told = []
    with np.printoptions(precision=8, suppress=False, floatmode="maxprec", legacy=False):
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)
