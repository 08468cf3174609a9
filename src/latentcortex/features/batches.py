"""Run a network over many rows in batches that fit into the memory of the GPU."""

import contextlib
import logging

import torch

_LOG = logging.getLogger(__name__)


class Batches:
    """Batches of rows, of a size that is halved where the memory of the GPU runs out.

    ::

        batches = Batches(32)
        for batch in batches.over(len(images)):
            with batch as rows:
                made[rows] = network(images[rows])

    The block is run again with half of the rows where memory ran out, so it must not add up or append
    anything before the network is through.

    Parameters
    ----------
    size : int
        Rows per batch, at least 1. It stays smaller where it had to be halved.
    what : str
        What one row is, for what is said.
    under_gradient : bool
        Whether a gradient goes through all batches. They share one graph then, so smaller ones would save
        nothing, and what the GPU says is left to the caller.
    """

    def __init__(self, size, what="image", under_gradient=False):
        self.size, self.what, self.under_gradient = size, what, under_gradient

    def over(self, n_rows):
        """Yield a context of each batch, whose slices of rows follow each other and cover all rows.

        Raises
        ------
        RuntimeError
            If not even one row fits.
        """
        start = 0
        while start < n_rows:
            batch = _Batch(slice(start, min(start + self.size, n_rows)), self.under_gradient)
            yield batch
            if batch.error is None:
                start = batch.rows.stop
            else:
                self._halve(batch)

    def _halve(self, batch):
        n = batch.rows.stop - batch.rows.start
        if n == 1:
            raise RuntimeError(
                f"The memory of the GPU does not hold a single {self.what} ({batch.error}). Load the "
                "networks in float16 (dtype of the preset), let the guide look through a tiny "
                "autoencoder (tiny_vae), end other programs that use the GPU, or take a GPU with more memory."
            )
        self.size = n // 2
        torch.cuda.empty_cache()
        _LOG.warning(
            "The memory of the GPU does not hold %d %ss at once: going on with %d. A smaller batch_size in "
            "the preset saves the attempt.",
            n,
            self.what,
            self.size,
        )


class _Batch(contextlib.AbstractContextManager):
    """Gives the rows, and notes what the GPU says where its memory runs out; keeps no frames."""

    def __init__(self, rows, under_gradient):
        self.rows, self.under_gradient, self.error = rows, under_gradient, None

    def __enter__(self):
        return self.rows

    def __exit__(self, kind, error, _traceback):
        if self.under_gradient or kind is None or not issubclass(kind, torch.OutOfMemoryError):
            return False
        self.error = str(error).split(". ")[0]
        return True
