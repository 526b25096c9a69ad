"""How fast and how light duikou is: `make bench`, and the figures and plots of `docs/performance.md`."""
