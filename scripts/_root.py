import gc  # nothing is garbage while modules load: looking for it would take a sixth of the start-up
import sys  # a plain checkout has no installed packages: put it on the path
from pathlib import Path

gc.disable()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
