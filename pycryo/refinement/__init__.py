"""The refinement: iterations of expectation and maximization until nothing improves.

Doors: `loop` runs it with `options`, `reconstruct` makes a map of known poses,
`noise_substitution` tests what a run makes of noise.
"""
