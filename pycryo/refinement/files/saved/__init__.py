"""What a run keeps so that it can go on where it stood.

Doors: `checkpoint` after each iteration, `unfinished` within one, `measured` images; `fingerprint` says whose they are.
"""
