"""The files of a run.

Doors: `outputs`, `data_star`, `half_maps` and `postprocessed` maps, `checkpoint`, `measured` and `unfinished` images,
`job` folder, its `lock` and `run_state`, `run_json`, `finished_run` by which others go on, `fingerprint`, `live` pages,
`output_nodes` for RELION, `background`.
"""
