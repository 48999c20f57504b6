"""Microbenchmarks of pycryo's kernels: one module ``bench_<k>`` with ``cases()`` each, in the package's folders; see README.md."""
