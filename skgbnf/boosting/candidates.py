"""Architectures that each round may choose from, by the records of the families."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from zuko.lazy import LazyDistribution

from skgbnf.flows import Architecture, Variable, dependence, get_family
from skgbnf.training.rows import Rows

FamilyName = str | Callable[[int], LazyDistribution]
"""A registered family, or a user's callable."""

Candidates = Sequence[Architecture]
"""Architectures of one family, each larger than the one before."""

_SPARSE = 0.2
_FEWEST_ROWS_OF_A_GRAPH = 200
_FIRST_SHARE = 0.1
_SHARE_OF_FIRST_NETWORK = 0.25
_SHARE_OF_FIRST_VIEWS = 0.7
_MANY_ROWS = 10_000
_NETWORK_CELLS_PER_SECOND = 250_000
_FEWEST_ROWS_IN_TIME = 1000


@dataclass(frozen=True)
class View:
    """What components see of residuals and their context.

    Attributes
    ----------
    n_columns : int, default=0
        If above 0, they see what is behind the residuals, given so many columns of the context;
        see :class:`~skgbnf.flows.Architecture`.

    splines : {"all", "columns", "whitened"}, default="all"
        The place of splines that suits them; "all" to try all places of their family, as where it
        does not have that one.
    """

    n_columns: int = 0
    splines: str = "all"


@dataclass(frozen=True)
class CandidatePlan:
    """Families of each round, and what their architectures have in common.

    Attributes
    ----------
    first : tuple of str
        Families of the first rounds, one each, without a context.

    later : tuple of str or callable
        Families that each round after them chooses from.

    until_network : tuple of str
        Families that it may choose too until one of those was chosen.

    sparse : str or None
        Family that is among them where few features depend on each other.

    n_estimators : int
        Largest number of rounds.

    n_samples : int
        Number of training samples.

    template : Architecture
        The fields that all architectures share.

    n_transforms : int or None
        Layers of each flow; None for the number of its family.

    activation : str or None
        Non-linearity of the networks; None for that of the family.

    variables : tuple of Variable, default=()
        What families for mixed tables see of the columns.

    hidden_layer_sizes : tuple of int or None, default=None
        Widths of the networks; None for those of the family.

    views : tuple of View, default=(View(),)
        What components may see of residuals and context, each of which is tried; the last one in a
        round of its own.
    """

    first: tuple[FamilyName, ...]
    later: tuple[FamilyName, ...]
    until_network: tuple[FamilyName, ...]
    sparse: str | None
    n_estimators: int
    n_samples: int
    template: Architecture
    n_transforms: int | None
    activation: str | None
    variables: tuple[Variable, ...] = ()
    hidden_layer_sizes: tuple[int, ...] | None = None
    views: tuple[View, ...] = (View(),)

    @property
    def n_first(self) -> int:
        """Number of rounds with a family of their own."""
        return len(self.first)

    def share(self, n_rounds: int) -> float:
        """Share of the time left that the round after `n_rounds` others may take."""
        if n_rounds == self.n_first and len(self.views) > 1:
            # The last view has the round after it, which needs time too.
            return _SHARE_OF_FIRST_VIEWS
        if n_rounds >= self.n_first:
            return 1.0
        if get_family(self.first[n_rounds]).fitted_by == "gradient":
            return _SHARE_OF_FIRST_NETWORK
        # With more samples networks leave EM further behind, and need more time.
        return _FIRST_SHARE * min(1.0, _MANY_ROWS / self.n_samples)

    def depends_on_sparsity(self, n_rounds: int) -> bool:
        """Whether the next round asks how many pairs of features depend on each other."""
        return self.sparse is not None and n_rounds >= self.n_first

    def offered(self, earlier: Sequence[FamilyName], *, sparse: bool) -> list[Candidates]:
        """Architectures that the next round may choose from.

        Parameters
        ----------
        earlier : sequence of str or callable
            Families of the components so far, one for each round.

        sparse : bool
            Whether the family for sparse tables is among them: alone in the first round of a
            network, unless there is one round only, and with the others in each round after it.
        """
        n_rounds, families = len(earlier), self.later
        # Where a network explains more, Gaussians do not pay for the time that they take.
        if not any(family in self.later for family in earlier):
            families += self.until_network
        if n_rounds < self.n_first:
            # EM knows no context; what is conditional on one follows in later rounds.
            return self._of(self.first[n_rounds], n_context=0)
        if sparse and self.sparse is not None:
            # A short trial would not tell what it is worth: others learn faster, and then noise.
            alone = n_rounds == self.n_first and self.n_estimators > 1
            families = (self.sparse,) if alone else (*families, self.sparse)
        return [
            [
                replace(architecture, n_columns=view.n_columns, order=self._order(name, n_rounds))
                for architecture in candidates
            ]
            for view in self._views(n_rounds)
            for name in families
            for candidates in self._of(name, place=view.splines)
        ]

    def _order(self, name: FamilyName, n_rounds: int) -> int:
        """Number of the order of the variables, another one in each round that takes them."""
        return n_rounds if get_family(name).takes_variables else 0

    def _views(self, n_rounds: int) -> tuple[View, ...]:
        """Views that the next round tries: all but the last, then the last, then all.

        The last one knows the least to begin with, and would lose short trials that it would win
        in the end.
        """
        place = n_rounds - self.n_first
        if len(self.views) == 1 or place > 1 or self.n_estimators - self.n_first < 2:
            return self.views
        return self.views[-1:] if place else self.views[:-1]

    def _of(
        self, name: FamilyName, n_context: int | None = None, place: str = "all"
    ) -> list[Candidates]:
        """The architectures of one family: for each place of splines and tail, several sizes."""
        family = get_family(name)
        architecture = replace(
            self.template,
            family=name,
            variables=self.variables if family.takes_variables else (),
            n_context=self.template.n_context if n_context is None else n_context,
            n_transforms=self.n_transforms or family.n_transforms,
            activation=self.activation or family.activation,
            hidden_layer_sizes=self.hidden_layer_sizes or family.hidden_layer_sizes,
        )
        places = family.splines or (architecture.splines,)
        if place in places:
            places = (place,)
        tails = family.tails or (architecture.tail,)
        return [
            [
                replace(architecture, splines=place, tail=tail, n_components=k)
                for k in family.n_components
            ]
            for place in places
            for tail in tails
        ]


def is_sparse(rows: Rows) -> bool:
    """Whether no more than a fifth of the pairs of features are seen to depend on each other.

    Of one feature there are no pairs, and few samples show nothing.
    """
    n_samples, n_features = rows.x.shape
    if n_features == 1 or n_samples < _FEWEST_ROWS_OF_A_GRAPH:
        return False
    n_dependent = int(dependence(rows.x, rows.weights).sum()) - n_features
    return n_dependent <= _SPARSE * n_features * (n_features - 1)


def rows_in_time(offered: Sequence[Candidates], n_features: int, seconds: float) -> float:
    """Number of training samples that a round can make use of in the time there is.

    What a network is started from, and scored on, in so many seconds, takes a good part of them;
    it would not see more samples once. EM makes good use of all samples.
    """
    names = {architecture.family for candidates in offered for architecture in candidates}
    if not any(get_family(name).fitted_by == "gradient" for name in names):
        return math.inf
    return max(_NETWORK_CELLS_PER_SECOND * seconds / n_features, _FEWEST_ROWS_IN_TIME)
