"""The project's benchmark: CPU per point, memory, visibility, disk, loss on SIGKILL and start time.

Run it with ``scripts/bench``; ``bench/README.md`` says what is measured and how.
"""
