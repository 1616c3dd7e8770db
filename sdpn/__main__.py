"""``python -m sdpn`` is ``sdpn``."""

import sys

from sdpn.cli.main import main

sys.exit(main())
