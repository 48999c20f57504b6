"""The files of a run; `saved` is what it needs to go on.

Doors: `outputs`, `data_star`, `half_maps` and `postprocessed` maps, `job` folder, its `lock` and `run_state`,
`run_json`, `finished_run` by which others go on, `live` pages, `closing`, `output_nodes` for RELION, `background`.
"""
