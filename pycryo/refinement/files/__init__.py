"""The files of a run.

Doors: `outputs` of each iteration and of the result, `checkpoint`, `job` folder, `run_json`, `fingerprint`.
"""
