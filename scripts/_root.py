import sys  # a plain checkout has no installed packages: put it on the path
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
