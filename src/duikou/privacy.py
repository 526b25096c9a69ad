"""Nothing calls home. Imported before everything else, since runtimes look at these when they are loaded."""

import os

# The official builds of ONNX Runtime report to Microsoft since 1.29 (model, machine, a device id) unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
