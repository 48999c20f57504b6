"""Files of other programs as RELION's tables, and back.

Doors: `formats` knows which program a file is of and makes a `conversion` of it, `star_file` writes that;
`cryosparc_export` writes a file of cryoSPARC.
"""
