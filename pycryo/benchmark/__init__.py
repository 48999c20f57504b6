"""The harness of the benchmarks: rates of kernels as fractions of limits that it measures in the same run.

Doors: `cases` are timed, `limits` measured, `rows` printed, `page` written into, `environment` says on what machine,
`script` runs them; `accuracy` has the errors of kernels against their float64 twins.
"""
