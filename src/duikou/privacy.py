"""No telemetry. Imported before everything else, since runtimes read these variables when they are loaded."""

import os

# Since 1.29 the official builds of ONNX Runtime report to Microsoft (model, machine, device id) unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
