"""The best network within the limits, by gradient descent on relaxed genes: a rival of the evolution.

Each gene is relaxed to a probability for each of its choices. The loss is what networks drawn by these probabilities
are worth on average, predicted latency included, as in ProxylessNAS (https://arxiv.org/abs/1812.00332) and FBNet
(https://arxiv.org/abs/1812.03443). These also differentiate through the weights of a supernet that is trained
meanwhile; here accuracy is predicted, so the derivative is estimated from the networks drawn, as ProxylessNAS does in
its second form (REINFORCE, https://doi.org/10.1007/BF00992696). Worth is by rank, so it has no weights to choose: what
keeps the limits is better than what does not, and within them the objective decides.
"""

import numpy as np
from numpy.typing import NDArray

from nas.search.evolution.archive import total_violation
from nas.search.evolution.strategies import Search, strategy
from search_spaces import Population, SearchSpace

_DRAWN = 60  # networks for each step
_RATE, _DECAYS = 0.15, (0.9, 0.99)  # of Adam (https://arxiv.org/abs/1412.6980)
_CERTAIN = 0.05  # of the networks drawn; if fewer are new, the probabilities have nothing left to tell


@strategy("gradient")
def gradient(search: Search) -> None:
    """Minimise the first objective within the limits."""
    space, evaluate = search.space, search.evaluate
    if len(search.start):
        evaluate(evaluate.within_limits(search.start))
    genes, certain, without_new = RelaxedGenes(space), 0, 0
    while not evaluate.done and without_new < search.settings.patience:
        drawn = genes.draw(_DRAWN, search.rng)
        networks = space.canonical(drawn)
        over = total_violation(evaluate.score.violations(networks))
        new = len(evaluate(evaluate.within_limits(networks)))
        numbers = evaluate.archive.find(networks)
        known = np.where(numbers < 0, 0, evaluate.archive.objectives[numbers, 0])
        genes.step(drawn, _by_rank(over, known))
        without_new = 0 if new else without_new + 1
        certain = certain + 1 if new < _CERTAIN * _DRAWN else 0
        if certain == search.settings.patience // 4 + 1:
            genes, certain = RelaxedGenes(space), 0


def _by_rank(over: NDArray[np.float64], objective: NDArray[np.float64]) -> NDArray[np.float64]:
    """A loss from -1 for the best network to 1 for the worst; equal networks have equal ones, (n,)."""
    _, inverse = np.unique(np.stack([over, objective], axis=1), axis=0, return_inverse=True)
    rank = inverse.reshape(-1).astype(np.float64)
    return np.asarray(2 * rank / max(1.0, float(rank.max())) - 1)


class RelaxedGenes:
    """A probability for each choice of each gene, all equal at first, and Adam to improve them.

    Parameters
    ----------
    space : whose genes.
    """

    def __init__(self, space: SearchSpace) -> None:
        shape = (len(space.genes), int(space.n_choices.max()))
        self._is_choice = np.arange(shape[1]) < space.n_choices[:, None]
        self._logits = np.where(self._is_choice, 0.0, -np.inf)
        self._mean, self._square, self._steps = np.zeros(shape), np.zeros(shape), 0

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each choice, (n_genes, most choices of a gene)."""
        weights = np.exp(self._logits - self._logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def draw(self, n: int, rng: np.random.Generator) -> Population:
        """`n` networks by these probabilities, each gene for itself, not canonical, (n, n_genes)."""
        noise = rng.gumbel(size=(n, *self._logits.shape))  # the largest sum is a draw of softmax
        return np.asarray((self._logits + noise).argmax(axis=2), dtype=np.int16)

    def step(self, drawn: Population, loss: NDArray[np.float64]) -> None:
        """Make networks of a small loss (n,) more probable."""
        chosen = drawn[:, :, None] == np.arange(self._logits.shape[1])
        gradient = np.tensordot(loss - loss.mean(), chosen - self.probabilities, axes=(0, 0)) / len(drawn)
        self._steps += 1
        first, second = _DECAYS
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient**2
        mean, square = self._mean / (1 - first**self._steps), self._square / (1 - second**self._steps)
        step = _RATE * mean / (np.sqrt(square) + 1e-8)
        self._logits = np.where(self._is_choice, self._logits - step, -np.inf)
