"""The files of a run.

Doors: `outputs` of each iteration and of the result, `data_star`, `checkpoint`, `measured` images, `unfinished` ones,
`job` folder and its `lock`, `run_json`, `finished_run` by which others go on, `fingerprint`, `output_nodes` for RELION,
`background`.
"""
