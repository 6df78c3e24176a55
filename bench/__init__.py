"""Load, and the limits it is measured against, in one run: python -m bench."""
