"""The port through which a clip and mouth motion become frames, and its adapters."""
