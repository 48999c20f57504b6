"""Microbenchmarks: one module ``bench_<k>`` with ``cases()`` each, in the folders of the package; see README.md."""
