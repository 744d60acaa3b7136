"""What smoothing the Teacher's targets is worth: `.venv/bin/python benchmarks/targets.py demo --seeds 1 2 3`.

Fine-tunes the study's Teacher with its own `target_sd` and with plain cross-entropy (0) on the same U, seed by seed, and judges
both on the test essays. Writes results/<profile>/ablation/targets.csv (every run), targets.md (means over seeds) and targets.json
(the record). A run that is there is not repeated; a stopped one goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pandas as pd

HOME = Path(__file__).resolve().parent.parent
COLUMNS = ["seed", "target_sd", "n_human", "qwk", "qwk_expected_matched", "r", "smd", "exact", "seconds"]


def judge(profile: str, seed: int, target_sd: float) -> dict[str, float]:
    """Agreement with people on the test essays, of the most likely level and of the expected score (matched on dev)."""
    import dataclasses

    from cyborg_utils.core import config, paths
    from cyborg_utils.data import corpora
    from cyborg_utils.models import fine_tuning, prompt, teacher
    from cyborg_utils.stats import metrics
    from cyborg_utils.stats.calibration import MeanSdMatch

    study = config.load(profile)
    scale, data, section = study.scale, study.section("prepare_data"), study.section("finetune_teacher")
    settings = dataclasses.replace(teacher.Settings.of(section), target_sd=target_sd)
    template = prompt.Prompt(prompt.rubric(data["corpus"], data["score"], data.get("options")), scale)
    dataset = corpora.load(profile)
    essays = corpora.frame(dataset, text=True)
    u = essays[essays["essay_id"].isin(set(corpora.draw_human(dataset, study.runs[0].fraction, seed)))]
    dev, test = (essays[essays["split"] == part] for part in ("dev", "test"))
    # The study's own Teacher where there is one: it is the same.
    own = target_sd == section["target_sd"]
    folder = paths.build(profile, "teacher", config.Run(study.runs[0].fraction, seed).name if own else f"sd{target_sd:g}_s{seed}")
    curve = fine_tuning.finetune(u, dev, template, settings, seed=seed, folder=folder, attempts=section["attempts"])
    reader = teacher.load(settings, template, adapter=folder / "adapter")
    both = pd.concat([dev, test])
    given = teacher.score(reader, both, folder=folder / "ablation", mark=teacher.saved(folder / "adapter")[2])
    found = both.merge(given, on="essay_id", suffixes=("_human", ""))
    known, judged = found[found["split"] == "dev"], found[found["split"] == "test"]
    match = MeanSdMatch.fit(target=known["score"], values=known["expected"])
    likely = metrics.agreement_metrics(judged["score"], scale.score(judged["level"]), scale)
    matched = metrics.agreement_metrics(judged["score"], match.apply(judged["expected"]), scale)
    values = [seed, target_sd, len(u), likely["qwk"], matched["qwk"], matched["r"], likely["smd"], likely["exact"]]
    return dict(zip(COLUMNS, [*values, curve["seconds"].sum()], strict=True))


def main() -> None:
    from cyborg_utils.core import config, paths, provenance
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", help="a study whose notebook 01 has run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    folder = paths.results(options.profile, "ablation")
    file, own = folder / "targets.csv", config.load(options.profile).section("finetune_teacher")["target_sd"]
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    for seed in options.seeds:
        for target_sd in (0.0, own):
            if not any(row["seed"] == seed and row["target_sd"] == target_sd for row in rows):
                rows.append(judge(options.profile, seed, target_sd))
                artefacts.write(file, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    means = table.drop(columns="seed").groupby("target_sd").mean().assign(seeds=table.groupby("target_sd").size())
    gain = table.pivot(index="seed", columns="target_sd", values=["qwk", "qwk_expected_matched", "r"])
    told = [
        f"{name}: smoothed minus plain {change.mean():+.3f} (by seed {', '.join(f'{one:+.3f}' for one in change)})"
        for name in ("qwk", "qwk_expected_matched", "r")
        for change in [gain[name][own] - gain[name][0.0]]
    ]
    text = "\n\n".join(
        [
            f"The Teacher of {options.profile} on its test essays, by `target_sd`; means over seeds.",
            means.reset_index().to_markdown(index=False, floatfmt=".3f"),
            "\n".join(f"- {line}" for line in told),
        ]
    )
    artefacts.write(folder / "targets.md", text + "\n")
    provenance.write_json(folder / "targets.json", provenance.record(vars(options), measured={"rows": len(rows)}))
    print(f"\n{text}")


if __name__ == "__main__":
    os.chdir(HOME)
    if "GLIBC_TUNABLES" not in os.environ:  # must be there when a process starts
        from cyborg_utils.run import workflow

        os.execve(sys.executable, [sys.executable, *sys.argv], workflow.environment())
    main()
