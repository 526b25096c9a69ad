"""Imports everything that a sandboxed child needs, before the first child is forked.

Otherwise each child would import it again, and a restricted child cannot read the files of modules. Only the process
that forks children imports this module: it takes seconds, and servers and workers start without it.
"""

# ruff: noqa: F401  to import is all that this module does

# Loaded by libraries when they first need them: by PyAV with a stream, for the names in the bundle of landmarks, and
# with the first file of this package that is read.
import encodings.cp437
import importlib.readers

import av.subtitles.stream

import duikou.pipeline.session
import duikou.pipeline.sync
import duikou.workers.work
