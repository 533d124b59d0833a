"""python -m ser_utils"""

from ser_utils.cli import main

raise SystemExit(main())
