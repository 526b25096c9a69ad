"""What requests and answers share."""

from __future__ import annotations

from typing import Any

EXTENSION: dict[str, Any] = {"x-duikou-extension": True}
"""Marks, in the OpenAPI document, what neither the contract nor Kling has."""
