"""From indices to a batch, for data sets by index and for streams; in the main process and in workers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .collate import default_collate

__all__ = ["Fetcher", "IterableFetcher", "MapFetcher"]


class Fetcher:
    """Gets samples and makes a batch of them.

    Args:
        dataset: where the samples come from.
        auto_collation: whether indices come in lists, one for each sample of the batch.
        collate_fn: makes the batch from a list of samples, or converts one sample without `auto_collation`.
        drop_last: whether a shorter last batch is left out; for streams, whose end only the fetcher sees.
    """

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last

    def fetch(self, index: Any) -> Any:
        """The batch for an index or a list of them.

        Raises:
            StopIteration: the stream has ended.
        """
        raise NotImplementedError


class MapFetcher(Fetcher):
    """By index. Rows of tensors are taken all at once where that gives what `default_collate` would."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        super().__init__(dataset, auto_collation, collate_fn, drop_last)
        self.together: Callable[[list[Any]], Any] | None = None
        if auto_collation and collate_fn is default_collate:
            from ..dataset import rows_together

            self.together = rows_together(dataset)

    def fetch(self, index: Any) -> Any:
        dataset = self.dataset
        if not self.auto_collation:
            return self.collate_fn(dataset[index])
        if self.together is not None:
            try:
                batch = self.together(index)
            except (IndexError, TypeError, ValueError):  # the samples themselves tell better what is wrong
                batch = None
            if batch is not None:
                return batch
        many = getattr(dataset, "__getitems__", None)
        return self.collate_fn(many(index) if many else [dataset[i] for i in index])


class IterableFetcher(Fetcher):
    """From a stream; the indices only count."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        super().__init__(dataset, auto_collation, collate_fn, drop_last)
        self.stream = iter(dataset)
        self.ended = False

    def fetch(self, index: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self.stream))
        samples = []
        for _ in index:
            try:
                samples.append(next(self.stream))
            except StopIteration:
                self.ended = True
                break
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return self.collate_fn(samples)
