"""Microbenchmarks of pycryo's kernels: one module ``bench_<kernel>`` with ``cases()`` each; see README.md."""
