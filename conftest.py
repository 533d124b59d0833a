"""What every notebook under test shares."""

import os

os.environ["TQDM_DISABLE"] = "1"  # bars go to stderr, which strict nbval would compare
