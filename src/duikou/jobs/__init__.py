"""Sessions and tasks: state machine, store, workers, retention."""
