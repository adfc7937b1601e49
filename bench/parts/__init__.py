"""The parts of the benchmark; each module has one function `run(plan) -> Section`."""
