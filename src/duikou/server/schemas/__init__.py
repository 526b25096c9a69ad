"""The JSON of requests and answers. Names and types are Kling's (docs/contract). No other package knows it."""
