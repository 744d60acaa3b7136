"""Plausible wrong answers to the labs' exercises (teaching/): lab -> exercise -> answers. Its check must refuse each."""

WRONG: dict[str, dict[str, list[str]]] = {
    "1_agreement": {
        "observed": [
            # rows and columns exchanged
            "def observed(human, machine, levels):\n    table = np.zeros((levels, levels))\n"
            "    np.add.at(table, (machine, human), 1)\n    return table",
            # numpy counts a repeated pair once
            "def observed(human, machine, levels):\n    table = np.zeros((levels, levels))\n"
            "    table[human, machine] += 1\n    return table",
            # only the levels that occur
            "def observed(human, machine, levels):\n    return pd.crosstab(human, machine).to_numpy()",
        ],
        "expected": [
            "def expected(table):\n    return np.outer(table.sum(axis=1), table.sum(axis=0))",  # not divided
            "def expected(table):\n    return np.full(table.shape, table.sum() / table.size)",  # luck without habits
            "def expected(table):\n    return np.outer(table.sum(axis=0), table.sum(axis=1)) / table.sum()",  # transposed
        ],
        "quadratic": [
            "def quadratic(levels):\n    i = np.arange(levels)\n    return abs(i[:, None] - i) / (levels - 1)",  # linear
            "def quadratic(levels):\n    i = np.arange(levels)\n    return (i[:, None] - i) ** 2",  # not between 0 and 1
            # similarity
            "def quadratic(levels):\n    i = np.arange(levels)\n    return 1 - (i[:, None] - i) ** 2 / (levels - 1) ** 2",
        ],
        "qwk": [
            "def qwk(human, machine, levels):\n    return np.mean(human == machine)",
            "def qwk(human, machine, levels):\n    t, w = observed(human, machine, levels), quadratic(levels)\n"
            "    return (w * t).sum() / (w * expected(t)).sum()",  # 1 - forgotten
            "def qwk(human, machine, levels):\n    return np.corrcoef(human, machine)[0, 1]",
        ],
        "far": [
            "far = near.copy()",
            "far = K - 1 - first",  # bad, but no longer right on the same essays
            "far = first.copy()\nfar[::5] = first[::5] + 7",  # off the scale
        ],
        "concordance": [
            "def concordance(human, machine):\n    return np.corrcoef(human, machine)[0, 1]",
            "def concordance(human, machine):\n    c = np.mean((human - human.mean()) * (machine - machine.mean()))\n"
            "    return 2 * c / (human.var() + machine.var())",  # strictness forgotten
            "def concordance(human, machine):\n    c = np.mean((human - human.mean()) * (machine - machine.mean()))\n"
            "    return 2 * c / (human.var(ddof=1) + machine.var(ddof=1) + (human.mean() - machine.mean()) ** 2)",
        ],
    },
    "2_distil": {
        "hard": [
            "def hard(p):\n    return p.round()",  # nothing where the Teacher is torn
            "def hard(p):\n    return p.argmax(axis=1)",  # levels, not distributions
            "def hard(p):\n    return np.eye(len(p[0]))[p.argmax(axis=0)]",
        ],
        "soften": [
            "def soften(p, temperature):\n    q = p / temperature\n    return q / q.sum(axis=1, keepdims=True)",  # cancels
            "def soften(p, temperature):\n    q = p**temperature\n    return q / q.sum(axis=1, keepdims=True)",  # upside down
            "def soften(p, temperature):\n    return p ** (1 / temperature)",  # does not sum to 1
        ],
        "cross_entropy": [
            "def cross_entropy(target, q):\n    return -np.sum(target * np.log(q))",  # sum, not mean
            "def cross_entropy(target, q):\n    return -np.mean(target * np.log(q))",  # mean over levels too
            # hard labels only
            "def cross_entropy(target, q):\n    return -np.mean(np.log(q[np.arange(len(q)), target.argmax(axis=1)]))",
        ],
        "gradient": [
            "def gradient(X, target, W):\n    return X.T @ (target - student(X, W)) / len(X)",  # sign
            "def gradient(X, target, W):\n    return X.T @ (student(X, W) - target)",  # not averaged
            "def gradient(X, target, W):\n    return (student(X, W) - target).T @ X / len(X)",  # transposed
        ],
        "cyborg": [
            "def cyborg(human, teacher, in_u):\n    return teacher",
            "def cyborg(human, teacher, in_u):\n    return human",  # human scores that nobody paid for
            "def cyborg(human, teacher, in_u):\n    teacher[in_u] = human[in_u]\n    return teacher",  # changes what it was given
            "def cyborg(human, teacher, in_u):\n    return np.where(in_u[:, None], teacher, human)",
        ],
        "gap_closed": [
            "def gap_closed(few, ours, full):\n    return ours / full",
            "def gap_closed(few, ours, full):\n"
            "    return min(1, max(0, (ours - few) / (full - few))) if full > few else float('nan')",
            "def gap_closed(few, ours, full):\n    return (ours - few) / (full - few) if full != few else float('nan')",
        ],
    },
    "3_chance": {
        "bootstrap": [
            "def bootstrap(human, machine, resamples, seed):\n    rng = np.random.default_rng(seed)\n"
            "    draws = [rng.permutation(len(human)) for _ in range(resamples)]\n"
            "    return np.array([qwk(human[at], machine[at]) for at in draws])",  # without replacement
            "def bootstrap(human, machine, resamples, seed):\n    rng = np.random.default_rng(seed)\n"
            "    apart = [(rng.choice(human, len(human)), rng.choice(machine, len(human))) for _ in range(resamples)]\n"
            "    return np.array([qwk(*two) for two in apart])",
            "def bootstrap(human, machine, resamples, seed):\n    rng = np.random.default_rng(seed)\n"
            "    draws = rng.integers(len(human), size=(resamples, 30))\n"
            "    return np.array([qwk(human[at], machine[at]) for at in draws])",  # too few essays
            "def bootstrap(human, machine, resamples, seed):\n    rng = np.random.default_rng()\n"
            "    draws = rng.integers(len(human), size=(resamples, len(human)))\n"
            "    return np.array([qwk(human[at], machine[at]) for at in draws])",  # another seed each time
        ],
        "interval": [
            "def interval(drawn, confidence=0.95):\n    return tuple(np.quantile(drawn, [1 - confidence, confidence]))",
            "def interval(drawn, confidence=0.95):\n    return np.quantile(drawn, 0.025), np.quantile(drawn, 0.975)",
            "def interval(drawn, confidence=0.95):\n    return np.min(drawn), np.max(drawn)",
        ],
        "paired": [
            "def paired(human, ours, theirs, resamples, seed):\n"
            "    return bootstrap(human, ours, resamples, seed) - bootstrap(human, theirs, resamples, seed + 1)",  # two draws
            "def paired(human, ours, theirs, resamples, seed):\n"
            "    return bootstrap(human, theirs, resamples, seed) - bootstrap(human, ours, resamples, seed)",  # sign
        ],
        "seed_error": [
            "def seed_error(values):\n    return np.std(values) / np.sqrt(len(values)) if len(values) > 1 else float('nan')",
            "def seed_error(values):\n    return np.std(values, ddof=1) if len(values) > 1 else float('nan')",
            "def seed_error(values):\n    return np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0",
        ],
        "holm": [
            "def holm(p):\n    return np.minimum(np.asarray(p) * len(p), 1)",  # Bonferroni
            "def holm(p):\n    p = np.asarray(p)\n    return np.minimum(p * (len(p) - p.argsort().argsort()), 1)",  # may fall
            "def holm(p):\n    p = np.sort(p)\n"
            "    return np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)",  # order lost
        ],
        "verdict": [
            "def verdict(low, high, margin):\n    return 'equivalent' if low <= 0 <= high else 'not equivalent'",
            "def verdict(low, high, margin):\n    return 'equivalent' if abs(low + high) / 2 < margin else 'not equivalent'",
            "def verdict(low, high, margin):\n    return 'equivalent' if -margin < low and high < margin else 'not equivalent'",
        ],
    },
    "4_bias": {
        "smd": [
            "def smd(human, machine):\n    return np.mean(machine) - np.mean(human)",
            "def smd(human, machine):\n    return (np.mean(human) - np.mean(machine)) / np.std(human, ddof=1)",
            "def smd(human, machine):\n    return (np.mean(machine) - np.mean(human)) / np.std(np.r_[human, machine], ddof=1)",
            "def smd(human, machine):\n    return (np.mean(machine) - np.mean(human)) / np.std(human)",
        ],
        "judged": [
            "def judged(human, machine, limit, resamples=400, seed=1):\n    v = smd(human, machine)\n"
            "    return v, v - 0.03, v + 0.03, 'biased' if abs(v) > limit else 'not biased'",  # the number alone
            "def judged(human, machine, limit, resamples=400, seed=1):\n    rng, n = np.random.default_rng(seed), len(human)\n"
            "    d = [smd(human[rng.integers(n, size=n)], machine[rng.integers(n, size=n)]) for _ in range(resamples)]\n"
            "    low, high = np.quantile(d, [0.025, 0.975])\n"
            "    fine = 'not biased' if -limit <= low and high <= limit else 'undecided'\n"
            "    return smd(human, machine), low, high, 'biased' if low >= limit or high <= -limit else fine",  # not paired
            "def judged(human, machine, limit, resamples=400, seed=1):\n    rng, n = np.random.default_rng(seed), len(human)\n"
            "    d = [smd(human[at], machine[at]) for at in rng.integers(n, size=(resamples, n))]\n"
            "    low, high = np.quantile(d, [0.025, 0.975])\n"
            "    return smd(human, machine), low, high, 'not biased' if low <= 0 <= high else 'biased'",  # significance
        ],
        "plant": [
            "def plant(frame, attribute, group, points):\n"
            "    frame.loc[frame[attribute] == group, 'value'] += points\n    return frame",
            "def plant(frame, attribute, group, points):\n    return frame.assign(value=frame['value'] + points)",
            "def plant(frame, attribute, group, points):\n    new = frame.copy()\n"
            "    new.loc[new[attribute] == group, ['score', 'value']] += points\n    return new",
        ],
        "dsm": [
            "def dsm(human, machine, members):\n    return smd(human[members], machine[members])",
            "def dsm(human, machine, members):\n    h, m = human[members], machine[members]\n"
            "    return np.mean((m - m.mean()) / m.std(ddof=1) - (h - h.mean()) / h.std(ddof=1))",  # within the group: always 0
            # one SD for both
            "def dsm(human, machine, members):\n"
            "    return np.mean((machine - machine.mean() - human + human.mean())[members]) / human.std(ddof=1)",
        ],
        "gap": [
            "def gap(error, truth, members):\n    return error[members].mean() - error[~members].mean()",
            "def gap(error, truth, members):\n    left = error - np.polyval(np.polyfit(truth, error, 1), truth)\n"
            "    return left[~members].mean() - left[members].mean()",
            "def gap(error, truth, members):\n    left = error - np.polyval(np.polyfit(truth, error, 1), truth)\n"
            "    return left.mean()",
        ],
    },
    "5_break_it": {
        "attack": [
            "def attack(text):\n    return text",
            "def attack(text):\n    return text + '!'",
            "def attack(text):\n    return text[: len(text) // 2]",
            "def attack(text):\n    return 'An excellent essay.'",
        ],
        "cleaned": [
            "def cleaned(text):\n    return text.encode('ascii', 'ignore').decode()",  # accents and Cyrillic words are lost
            "def cleaned(text):\n    return unicodedata.normalize('NFKC', text)",  # neither disguise is undone
            "def cleaned(text):\n    back = {fake: true for true, fake in texts.LOOK_ALIKES.items()}\n"
            "    return ''.join(back.get(c, c) for c in text if unicodedata.category(c) != 'Cf')",  # Cyrillic words are changed
            "def cleaned(text):\n    return ' '.join(text.replace('\\u200b', '').split())",
        ],
        "ece": [
            "def ece(p, level, bins=10):\n    return abs(p.max(axis=1).mean() - np.mean(p.argmax(axis=1) == level))",  # one part
            "def ece(p, level, bins=10):\n    sure, right = p.max(axis=1), p.argmax(axis=1) == level\n"
            "    parts = np.array_split(np.argsort(sure, kind='stable'), bins)\n"
            "    return sum((sure[a].mean() - right[a].mean()) * len(a) for a in parts) / len(level)",  # signed
            "def ece(p, level, bins=10):\n    sure, right = p.max(axis=1), p.argmax(axis=1) == level\n"
            "    return np.mean(abs(sure - right))",
        ],
        "best_temperature": [
            "def best_temperature(p, level, tried=np.geomspace(0.25, 4, 81)):\n"
            "    right = [np.mean(tempered(p, t).argmax(axis=1) == level) for t in tried]\n"
            "    return float(tried[np.argmax(right)])",  # a temperature never changes what is most likely
            "def best_temperature(p, level, tried=np.geomspace(0.25, 4, 81)):\n"
            "    losses = [-np.mean(np.log(tempered(p, t)[np.arange(len(level)), level])) for t in tried]\n"
            "    return float(tried[np.argmax(losses)])",
            "def best_temperature(p, level, tried=np.geomspace(0.25, 4, 81)):\n"
            "    losses = [-np.mean(np.log(tempered(p, t).max(axis=1))) for t in tried]\n"
            "    return float(tried[np.argmin(losses)])",  # people's levels are not looked at
        ],
    },
}
