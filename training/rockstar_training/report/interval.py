"""How sure a share is that was counted."""

from math import sqrt
from statistics import NormalDist


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a binomial proportion.

    With p the observed share and z the normal quantile, its ends are
    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n): E. B. Wilson, "Probable inference, the law
    of succession, and statistical inference", Journal of the American Statistical Association 22
    (1927). Unlike p ± z √(p(1 - p)/n) it stays within 0…1 and does not shrink to a point where
    everything was right.

    Args:
        successes: 0 to trials.
        trials: 1 or more.
        confidence: of the interval, between 0 and 1.

    Returns:
        Its lower and upper end, shares.

    Raises:
        ValueError: counts that cannot be.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"expected 0 to trials successes of 1 or more, got {successes}/{trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / trials, z * z / trials
    centre = share + spread / 2
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    # Rounding must not take the ends past what can be.
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
