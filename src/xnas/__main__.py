"""`python -m xnas`."""

from xnas.cli import main

raise SystemExit(main())
