"""Imports everything that a sandboxed child needs, before the first child is forked.

A restricted child can no longer read the files of modules. Only the process that forks children imports this module: it
takes seconds, and servers and workers start without it.
"""

import duikou.pipeline.session
import duikou.pipeline.sync
import duikou.workers.work  # noqa: F401
