"""Files of other programs as RELION's tables, and back.

Doors: `formats` knows which program a file is of and makes a `conversion` of it; `cryosparc_export` writes one of
cryoSPARC's.
"""
