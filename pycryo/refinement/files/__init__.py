"""The files of a run.

Doors: `outputs`, `data_star`, `half_maps` and `postprocessed` maps, `checkpoint`, `measured` and `unfinished` images,
`job` folder and its `lock`, `run_json`, `finished_run` by which others go on, `fingerprint`, `output_nodes` for RELION,
`background`.
"""
