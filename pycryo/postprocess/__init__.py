"""What is made of half-maps after a refinement: sharpened maps, figures, files.

Doors: `guinier` (B-factor).
"""
