"""Memory and work of a run: what it will take, and who does how much.

Doors: `memory_plan`, `work_plan`, `balance`.
"""
