"""The engine interface, which turns a clip and mouth motion into frames, and its implementations."""
