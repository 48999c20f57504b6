"""The files of a run.

Doors: `outputs` of each iteration and of the result, `data_star`, `checkpoint`, `unfinished` iteration, `job` folder,
its `lock`, `run_json`, `finished_run` by which others go on, `fingerprint`, `background` where files are finished,
`live` pages, `run_state` of a run in a folder.
"""
