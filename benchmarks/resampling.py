"""How fast is a paired bootstrap of a QWK difference, against SciPy's? `benchmarks/resampling.py`.

The work: 10,000 resamples of 10,402 essays (PERSUADE's test essays), two systems, a percentile interval, on one core.

    ours     bootstrap.paired_bootstrap
    plain    scipy.stats.bootstrap(paired=True, vectorized=False) on scikit-learn's cohen_kappa_score, as one writes it
    fast     scipy.stats.bootstrap(paired=True, vectorized=True) with the fastest statistic that we could write for it: QWK from
             means and variances along an axis, no table

SciPy's time is measured on fewer resamples and scaled: its work is the same for each of them. The ways alternate; medians of
processor time are compared, so that another program on the machine disturbs little. Writes results/bench/resampling.csv (every
measurement), resampling.md and resampling.json (the record).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from cyborg_utils.stats import bootstrap

ESSAYS, RESAMPLES, LEVELS = 10_402, 10_000, 6


def scores(essays: int = ESSAYS) -> list[np.ndarray]:
    """Levels of people and two machines with one quality behind them."""
    rng = np.random.default_rng(1)
    quality = rng.normal(size=essays)
    seen = [quality + rng.normal(size=essays) * noise for noise in (0.5, 0.6, 0.8)]
    return [np.clip(np.round(1.1 * value + 2.5), 0, LEVELS - 1).astype(int) for value in seen]


def kappa(human: np.ndarray, machine: np.ndarray, axis: int = -1) -> np.ndarray:
    """QWK along an axis, from means and variances."""
    apart = machine.mean(axis=axis) - human.mean(axis=axis)
    return 1 - ((machine - human) ** 2).mean(axis=axis) / (human.var(axis=axis) + machine.var(axis=axis) + apart**2)


def difference(human: np.ndarray, first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return kappa(human, first, axis) - kappa(human, second, axis)


def ours(given: list[np.ndarray], resamples: int, seed: int) -> tuple[float, float]:
    found = bootstrap.paired_bootstrap(*given, resamples=resamples, seed=seed)
    return found.low, found.high


def plain(given: list[np.ndarray], resamples: int, seed: int) -> tuple[float, float]:
    def gap(human, first, second):
        options = {"weights": "quadratic", "labels": np.arange(LEVELS)}
        return cohen_kappa_score(human, first, **options) - cohen_kappa_score(human, second, **options)

    options = {"paired": True, "vectorized": False, "method": "percentile", "batch": 1, "rng": np.random.default_rng(seed)}
    found = stats.bootstrap(given, gap, n_resamples=resamples, **options).confidence_interval
    return float(found.low), float(found.high)


def fast(given: list[np.ndarray], resamples: int, seed: int) -> tuple[float, float]:
    options = {"paired": True, "vectorized": True, "method": "percentile", "batch": 50, "rng": np.random.default_rng(seed)}
    found = stats.bootstrap(given, difference, n_resamples=resamples, **options).confidence_interval
    return float(found.low), float(found.high)


def timed(way: Callable, given: list[np.ndarray], resamples: int, seed: int) -> dict[str, float]:
    """Seconds of the clock and of the processor for RESAMPLES, scaled from fewer where fewer were drawn."""
    clock, processor = time.perf_counter(), time.process_time()
    low, high = way(given, resamples, seed)
    scale = RESAMPLES / resamples
    seconds = scale * (time.perf_counter() - clock), scale * (time.process_time() - processor)
    return {"resamples": resamples, "seconds": seconds[0], "cpu_seconds": seconds[1], "low": low, "high": high}


def main() -> None:
    from cyborg_utils.core import paths, provenance
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--fewer", type=float, default=0.04, help="share of the resamples that SciPy draws (plain: a tenth of it)"
    )
    options = parser.parse_args()
    given, rows = scores(), []
    ways = {"ours": (ours, 1.0), "plain": (plain, options.fewer / 10), "fast": (fast, options.fewer)}
    for way, _ in ways.values():
        way(given, 10, 0)  # warm up
    for number in range(1, options.rounds + 1):
        for name, (way, share) in ways.items():
            rows.append({"round": number, "way": name, **timed(way, given, max(10, round(share * RESAMPLES)), number)})
            print(f"{number}  {name:<6} {rows[-1]['cpu_seconds']:8.2f} s", flush=True)
    rounds = pd.DataFrame(rows)
    times = rounds.pivot(index="round", columns="way", values="cpu_seconds")
    middle = times.median()
    told = {"plain": "vectorized=False, scikit-learn's kappa", "fast": "vectorized=True, QWK from means and variances"}
    drawn = rounds.groupby("way")["resamples"].first()
    each = [
        f"- scipy.stats.bootstrap, {words}: {middle[name]:.1f} s, scaled from {drawn[name]:,} resamples; "
        f"ours is **{middle[name] / middle['ours']:.0f} times** as fast"
        for name, words in told.items()
    ]
    head = (
        f"Paired bootstrap of a difference in QWK, {RESAMPLES:,} resamples of {ESSAYS:,} essays, one core, processor time, "
        f"median of {options.rounds} rounds; {provenance.machine()}."
    )
    text = "\n".join([head, "", f"- ours: {middle['ours']:.2f} s", *each])
    folder = paths.results("bench")
    artefacts.write(folder / "resampling.csv", rounds.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    artefacts.write(folder / "resampling.md", text + "\n")
    ratios = {name: middle[name] / middle["ours"] for name in told}
    measured = {"cpu_seconds": middle.to_dict(), "ratio": ratios, "load": os.getloadavg()}
    record = provenance.record({"essays": ESSAYS, "resamples": RESAMPLES, **vars(options)}, measured=measured)
    provenance.write_json(folder / "resampling.json", record)
    print(text)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # one core; NumPy reads them when it is loaded
        if os.environ.get(name) != "1":
            os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
