"""NumPy float64 twins of the compiled kernels: slow, plain, and the truth of the tests."""
