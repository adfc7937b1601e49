"""``python -m bench`` from the top of the repository; ``scripts/bench`` makes the environment first."""

import sys

from bench.cli import main

try:
    status = main()
except KeyboardInterrupt:
    status = 130
sys.exit(status)
