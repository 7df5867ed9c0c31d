"""How long a search of so many queries takes, learnt from the last ones."""

from __future__ import annotations

KEPT = 0.98  # of what was learnt, at each new search: about the last fifty count
OUTLIER = 4.0  # times what was expected: one pause of the process says nothing of the next search


class SearchCost:
    """A line through the last searches: something for each of them, and something for every query.

    The one without the other would be far off: a search of one query takes several times as long as the same query
    takes within a search of thirty. Least squares, weighted by age.
    """

    def __init__(self) -> None:
        self._count = self._queries = self._seconds = self._squares = self._products = 0.0

    def learn(self, queries: int, seconds: float) -> None:
        """Take in what a search took.

        Parameters
        ----------
        queries : int
            1 or more.
        seconds : float
        """
        if self._count:
            seconds = min(seconds, OUTLIER * self.expected_s(queries))
        self._count = KEPT * self._count + 1.0
        self._queries = KEPT * self._queries + queries
        self._seconds = KEPT * self._seconds + seconds
        self._squares = KEPT * self._squares + queries * queries
        self._products = KEPT * self._products + queries * seconds

    def expected_s(self, queries: int) -> float:
        """Say how long a search is likely to take.

        Parameters
        ----------
        queries : int
            0 or more.

        Returns
        -------
        float
            In seconds, 0 for no queries, and as long as nothing was learnt.
        """
        if not queries or not self._count:
            return 0.0
        spread = self._squares - self._queries**2 / self._count
        covariance = self._products - self._queries * self._seconds / self._count
        # Where all searches were alike, or rounding is all there is, every query takes its share of them.
        each = self._seconds / self._queries
        if spread > 1e-6 * self._squares:
            each = min(max(covariance / spread, 0.0), each)
        own = (self._seconds - each * self._queries) / self._count
        return own + each * queries
