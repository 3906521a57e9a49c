"""Who is next: clients in turn, and each client's requests in their order."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A queue in which somebody with a thousand requests does not stand before somebody with one."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[Item]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Items in all."""
        return self._size

    def __iter__(self) -> Iterator[Item]:
        """The items, client by client."""
        return (item for items in self._clients.values() for item in items)

    def put(self, item: Item, client: str) -> None:
        """Add an item behind those of its client."""
        self._clients.setdefault(client, deque()).append(item)
        self._size += 1

    def first(self) -> Item | None:
        """The item whose turn it is."""
        return next((items[0] for items in self._clients.values()), None)

    def remove(self, item: Item) -> None:
        """Take an item out, if it is there; if it was its client's turn, others are next."""
        for client, items in self._clients.items():
            if item in items:
                was_first = items[0] is item
                items.remove(item)
                self._size -= 1
                if not items:
                    del self._clients[client]
                elif was_first:
                    self._clients.move_to_end(client)
                return
