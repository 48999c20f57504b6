"""The particles of a run: who holds which, what their images tell, how they are weighted.

Doors: `partition`, `halves`, `image_statistics`, `left_out`, `mend`, `prepare`, `posteriors`, `prior`, `signal_power`,
`solvent`, `figure_of_merit`, `keeper`, `outliers`.
"""
