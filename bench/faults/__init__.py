"""Real faults under load, and whether the service kept what it had promised: python -m bench.faults."""
