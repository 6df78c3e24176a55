"""Load, and the limits it is measured against, in one run: python -m bench."""

import os

# A proxy that the shell names can't reach what a run starts; its services and their clients are on loopback.
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))
