"""The files of a run.

Doors: `outputs` of each iteration and of the result, `data_star`, `checkpoint`, `job` folder, `run_json`,
`fingerprint`, `background` where files are finished.
"""
