"""The files of a run.

Doors: `outputs` of each iteration and of the result, `data_star`, `checkpoint`, `unfinished` iteration, `job` folder,
its `lock`, `run_json`, `finished_run` by which others go on, `fingerprint`, `postprocessed` maps,
`half_maps`, `background` where files are finished.
"""
