"""``python -m lazynet.dynet script.py``: see `running`."""

import sys

from lazynet.dynet.running import main

if __name__ == "__main__":
    own = sys.modules["__main__"]  # kept alive: the script takes its place
    sys.exit(main(sys.argv[1:]))
