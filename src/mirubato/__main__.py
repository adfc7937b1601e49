"""`python -m mirubato`."""

from mirubato.cli import main

raise SystemExit(main())
