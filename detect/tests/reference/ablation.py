#!/usr/bin/env python3
"""What each part of the class `calibrated` is worth, by its reference program over labelled series.

usage: ablation.py SPLIT_DIR [CONFIGURATIONS]

Prints two tables in Markdown. The first has a row for each part, taken away or put back to what it was at first: recall and false alarms
a day of each source at scores above 1, the NAB standard score with the best threshold and with scores above 1, and what the whole class is
ahead, as a difference of utilities with the interval that holds 95 % of draws of as many series of each source, the same for both. The
utility is the mean over the sources of recall - f / 2 - max(0, f - 0.1), with f false alarms a day.

The second asks what to expect of series that nobody has seen: of so many random CONFIGURATIONS (60) of parts and constants, and four
thresholds each, the one with the greatest utility on all sources but one is judged on that one.

Events, alarms and scores are counted as docs/detection-quality.md says, here by a second implementation.

needs: numpy, numba, pandas
"""
import sys
from collections import namedtuple

import numpy as np

from calibrated import RECIPES, calibrated, read_labelled

CURRENT, ORIGINAL = RECIPES["current"], RECIPES["original"]
DRAWS, SEED = 1000, 7

# Judged times, the times as they are counted: first and last of an event and of its reach, whether a time is in such a reach
Judged = namedtuple("Judged", "source series first times events reaches in_reach gap quiet_days windows")
# Of one configuration: found events and false alarms of each series, the two NAB scores
Outcome = namedtuple("Outcome", "found false nab")


def factor(quantile):
    """Of the threshold: from this quantile of the block maxima, of which the logarithm is taken to be Gumbel, to one block in 30."""
    gumbel = lambda p: -np.log(-np.log(p))
    return float(np.exp(0.1804 * (-np.log(1 / 30) - gumbel(quantile))))


def runs(mask):
    edges = np.diff(np.r_[0, mask.astype(np.int8), 0])
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1))


def merged(runs, times, gap):
    """Runs that are at most `gap` apart are one."""
    found = []
    for first, last in runs:
        if found and times[first] - times[found[-1][1]] <= gap:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def judged(one):
    first = int(np.searchsorted(one.times, one.eval_from))
    times, labels = one.times[first:], one.labels[first:]
    gap, slack = max(3 * one.step, 900), max(2 * one.step, 300)
    events = merged(runs(labels), times, gap)
    reaches = [
        (np.searchsorted(times, times[a] - slack), np.searchsorted(times, times[b] + slack, side="right")) for a, b in events
    ]
    in_reach = np.zeros(times.size, bool)
    for begin, end in reaches:
        in_reach[begin:end] = True
    windows = [(a, b) for a, b in runs(one.labels) if a >= first]
    quiet_days = (~in_reach).sum() * one.step / 86400
    return Judged(one.source, one, first, times, events, reaches, in_reach, gap, quiet_days, windows)


def count(series, scores):
    """Found events and false alarms at scores above 1."""
    alarming = scores[series.first :] > 1
    found = sum(alarming[begin:end].any() for begin, end in series.reaches)
    episodes = merged(runs(alarming), series.times, series.gap)
    return found, sum(not series.in_reach[a : b + 1].any() for a, b in episodes)


def sigmoid(y):
    return 2 / (1 + np.exp(5 * np.minimum(y, 3))) - 1


def nab(all_series, all_scores):
    """The standard score of the Numenta Anomaly Benchmark over the series of `nab`: with the best threshold, and with 1."""
    thresholds, gains, windows = [], [], 0
    for series, scores in zip(all_series, all_scores):
        if series.source != "nab":
            continue
        windows += len(series.windows)
        outside, cost = np.arange(scores.size) >= series.first, np.full(scores.size, -1.0)
        for number, (a, b) in enumerate(series.windows):
            outside[a : b + 1] = False
            until = series.windows[number + 1][0] if number + 1 < len(series.windows) else scores.size
            after = (np.arange(b + 1, until) - b) / (b - a)
            cost[b + 1 : until] = np.where(after > 3, -1.0, sigmoid(after))
            # What the first detection of a window gains falls from its beginning to its end; a missed window costs 1.
            of_window = scores[a : b + 1]
            highest = np.maximum.accumulate(of_window)
            firsts = np.flatnonzero(np.r_[True, of_window[1:] > highest[:-1]])
            gain = sigmoid((firsts - (b - a + 1)) / (b - a + 1)) / sigmoid(-1.0)
            thresholds.append(of_window[firsts])
            gains.append(gain - np.r_[gain[1:], -1.0])
        thresholds.append(scores[outside])
        gains.append(0.11 * cost[outside])
    if not windows:
        return np.nan, np.nan
    thresholds, gains = np.concatenate(thresholds), np.concatenate(gains)
    order = np.argsort(-thresholds, kind="stable")
    thresholds, totals = thresholds[order], np.cumsum(gains[order]) - windows
    is_last = np.r_[thresholds[1:] != thresholds[:-1], True] & (thresholds > 0)
    above_one = np.searchsorted(-thresholds, -1.0)
    fixed = totals[above_one - 1] if above_one else -windows
    percent = lambda total: 50 * (total + windows) / windows
    return percent(max(-windows, totals[is_last].max(initial=-windows))), percent(fixed)


def outcome(all_series, recipe):
    scores = [
        np.nan_to_num(calibrated(one.values, one.times, one.times, float(one.step), recipe)[:, 0])
        for one in (series.series for series in all_series)
    ]
    counts = np.array([count(series, of_one) for series, of_one in zip(all_series, scores)], float)
    return Outcome(counts[:, 0], counts[:, 1], nab(all_series, scores))


class Split:
    """Labelled series, and what is drawn from them."""

    def __init__(self, folder):
        self.series = [judged(one) for one in read_labelled(folder)]
        sources = np.array([series.source for series in self.series])
        self.sources = sorted(set(sources))
        self.events = np.array([len(series.events) for series in self.series], float)
        self.quiet_days = np.array([series.quiet_days for series in self.series])
        self.of_source = {source: np.flatnonzero(sources == source) for source in self.sources}
        random = np.random.default_rng(SEED)
        draw = lambda indices: random.choice(indices, (DRAWS, indices.size))
        self.draws = {source: draw(indices) for source, indices in self.of_source.items()}

    def rates(self, outcome, source, drawn=None):
        """Recall and false alarms a day of a source; of draws, an array of each."""
        of = self.of_source[source] if drawn is None else drawn
        total = lambda numbers: numbers[of].sum(axis=-1)
        return total(outcome.found) / np.maximum(1, total(self.events)), total(outcome.false) / total(self.quiet_days)

    def utility(self, outcome, sources, drawn=False):
        """Their mean; of draws, an array."""
        def of(source):
            recall, false = self.rates(outcome, source, self.draws[source] if drawn else None)
            return recall - false / 2 - np.maximum(0, false - 0.1)

        return np.mean([of(source) for source in sources], axis=0)


def interval(draws):
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"[{low:+.3f} {high:+.3f}]"


def parts():
    """Name and recipe of each row."""
    from_start = lambda **fields: CURRENT._replace(**fields)
    yield "all", CURRENT
    yield "as it was at first", ORIGINAL
    yield "without the value's quantum", from_start(quanta=0.0)
    yield "without the pair view", from_start(pair=np.inf)
    yield "without the drift view", from_start(drift=np.inf)
    yield "without the hold", from_start(held=1.0)
    yield "without the onset", from_start(onset=False)
    yield "without caution", from_start(caution=0.0)
    yield "blocks of 8 hours", from_start(block_hours=ORIGINAL.block_hours)
    yield "blocks of 8 hours, 3rd quartile", from_start(block_hours=8.0, quantile=0.75, factor=ORIGINAL.factor)
    yield "0.1 `L2` in `sigma` instead of 0.2", from_start(floor=ORIGINAL.floor)
    yield "exponent of unrest 0.6 instead of 0.5", from_start(unrest=ORIGINAL.unrest)
    yield "without unrest", from_start(unrest=0.0)
    yield "memory of sizes of 5 days instead of 4", from_start(scale_days=ORIGINAL.scale_days)


def print_parts(split):
    print(f"| | {' | '.join(split.sources)} | NAB standard | behind by [95 %] |")
    print("|---" * (len(split.sources) + 3) + "|")
    whole = None
    for name, recipe in parts():
        found = outcome(split.series, recipe)
        whole = whole or found
        cells = ["{:.2f} / {:.2f}".format(*split.rates(found, source)) for source in split.sources]
        behind = split.utility(whole, split.sources) - split.utility(found, split.sources)
        draws = split.utility(whole, split.sources, True) - split.utility(found, split.sources, True)
        cells += ["{:.1f} / {:.0f}".format(*found.nab), f"{behind:+.3f} {interval(draws)}" if found is not whole else ""]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def random_recipe(random):
    """Each part with a chance of its own, constants from coarse grids."""
    of = lambda *choices: choices[random.integers(len(choices))]
    has = lambda chance: random.random() < chance
    quantile = of(0.6, 0.65, 0.7, 0.75)
    return CURRENT._replace(
        floor=of(0.1, 0.15, 0.2, 0.25),
        unrest=of(0.4, 0.5, 0.6),
        scale_days=of(3.0, 4.0, 5.0),
        block_hours=of(8.0, 10.0, 12.0, 16.0),
        quantile=quantile,
        factor=factor(quantile),
        quanta=1.5 if has(0.7) else 0.0,
        pair=of(1.1, 1.3, 1.4) if has(0.7) else np.inf,
        drift=of(1.0, 1.1, 1.3) if has(0.6) else np.inf,
        held=0.999 if has(0.7) else 1.0,
    )


def print_left_out(split, configurations):
    random = np.random.default_rng(SEED)
    recipes = [random_recipe(random) for _ in range(configurations)]
    outcomes = []
    for number, recipe in enumerate(recipes):
        outcomes += [outcome(split.series, recipe._replace(factor=recipe.factor * scale)) for scale in (0.9, 0.95, 1.0, 1.05)]
        print(f"\r{number + 1} of {configurations} configurations", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"| judged on | recall [95 %] | false alarms a day [95 %] | NAB standard | of the ten best: recall | false alarms a day |")
    print("|---" * 6 + "|")
    for source in split.sources:
        others = [other for other in split.sources if other != source]
        order = np.argsort([-split.utility(one, others) for one in outcomes], kind="stable")
        best = outcomes[order[0]]
        recall, false = split.rates(best, source)
        bounds = [np.quantile(draws, [0.025, 0.975]) for draws in split.rates(best, source, split.draws[source])]
        cells = [f"{mean:.2f} [{low:.2f}-{high:.2f}]" for mean, (low, high) in zip((recall, false), bounds)]
        cells.append("{:.1f} / {:.0f}".format(*best.nab) if source == "nab" else "-")
        cells += ["{:.2f}".format(mean) for mean in np.mean([split.rates(outcomes[at], source) for at in order[:10]], axis=0)]
        print(f"| {source} | {' | '.join(cells)} |")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    split = Split(sys.argv[1])
    print_parts(split)
    if len(split.sources) > 1:
        print()
        print_left_out(split, int(sys.argv[2]) if len(sys.argv) == 3 else 60)
