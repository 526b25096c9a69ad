"""Both clients behind one interface, so that every test runs with each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from duikou.client import AsyncDuikou, Duikou


class Blocking:
    """An `AsyncDuikou` whose calls block."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.client, self._runner = AsyncDuikou(*arguments, **more), asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.client, name)

        def blocking(*arguments: Any, **more: Any) -> Any:
            result = call(*arguments, **more)
            return self._items(result) if inspect.isasyncgen(result) else self._runner.run(result)

        return blocking

    def _items(self, items: Any) -> Iterator[Any]:
        try:
            while (item := self._runner.run(_next(items))) is not None:
                yield item
        finally:
            self._runner.run(items.aclose())

    def close(self) -> None:
        self._runner.run(self.client.aclose())
        self._runner.close()


async def _next(items: AsyncGenerator[Any, None]) -> Any:
    return await anext(items, None)


CLIENTS: dict[str, Callable[..., Any]] = {"blocking": Duikou, "asynchronous": Blocking}
