"""What is wrong or doubtful in the input, found from its numbers alone.

Doors: `relatives` tells rows that show the same image or the same particle.
"""
