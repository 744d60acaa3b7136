"""Every parameter of a study, declared once: name, type, bounds, default, and its meaning in one line.

A section is named after the notebook that reads it (`FinetuneTeacher` is `finetune_teacher` of `02_finetune_teacher.ipynb`), and
its fields are that notebook's parameters. `config` reads study files with these models; `tools/parameters.py` writes
`params/schema.json` and the parameters cells of the notebooks from them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WrapValidator, create_model, model_serializer

Item = TypeVar("Item")


class Section(BaseModel):
    """A part of a study file."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)
    beyond_paper: ClassVar[bool] = False  # True: executed only in a study that has the section, even an empty one


class Entry(Section):
    """An element of a list, which keeps only what it says itself."""

    @model_serializer(mode="wrap")
    def _as_given(self, dump: Any) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


def _distinct(values: list) -> list:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("has a value that stands twice. Give each once")
    return values


# ---------------------------------------------------------------- types that several parameters share

Distinct = Annotated[list[Item], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
Number = Annotated[float, WrapValidator(lambda value, check: (check(value), value)[1])]  # an integer stays one
Scale = Annotated[list[Number], Field(min_length=3, max_length=3)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Head = Literal["regression", "classification", "frozen", "frozen-then-tuned"]
Layers = Annotated[list[Annotated[int, Field(ge=1)]], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
Labels = Literal["human", "human+dev", "cyborg", "cyborg-soft", "cyborg-staged", "full"]
RunName = Annotated[str, Field(pattern=r"^(u[\d.]+_s\d+)?$")]
Resamples = Annotated[int, Field(ge=100, description="bootstrap resamples")]
Confidence = Annotated[float, Field(gt=0.5, lt=1, description="of every interval")]
SmdLimit = Annotated[float, Field(gt=0, description="a group whose |SMD| is above it is treated differently")]
MinGroup = Annotated[int, Field(ge=2, description="groups with fewer essays are shown, never judged")]
AnalysisSeed = Annotated[int, Field(ge=0, description="seed of the resampling")]


def required(description: str, **bounds: Any) -> Any:
    return Field(description=description, **bounds)


def optional(default: Any, description: str, **bounds: Any) -> Any:
    """`examples`: what the demo study's notebook shows, where the default makes no sense for it."""
    return Field(default, description=description, **bounds)


def left_out(description: str) -> Any:
    """What may be left out, and then is not there; None cannot be given."""
    return Field(None, description=description, validate_default=False, json_schema_extra=lambda rule: rule.pop("default"))


# ---------------------------------------------------------------- the paper's notebooks


class PrepareData(Section):
    """01: a corpus, checked and split."""

    corpus: Literal["simulated", "ellipse", "persuade", "asap1", "asap2", "table"] = required(
        "simulated, ellipse, persuade, asap1, asap2, or table for a file of your own"
    )
    scale: Scale = required("lowest score, highest score, step")
    score: str = required("the column that is predicted")
    groups: Distinct[str] = required("writer groups to keep")
    dev: Amount = required("development essays; below 1 a share")
    test: Amount = required("test essays; below 1 a share, 0 keeps the split that the corpus brings")
    split_seed: int = required("seed of the split", ge=0)
    stratify: Literal["nothing", "prompt", "length", "score"] = optional(
        "nothing", "by what U and the splits are stratified; score only to repeat older runs: nobody knows it yet"
    )
    options: dict[str, Any] = optional({}, "what only this corpus needs")


class FinetuneTeacher(Section):
    """02: the Teacher, made from U."""

    model: str = required("a name in cyborg_utils/models/weights.yaml, a folder, or a hub id @ revision")
    epochs: int = optional(5, "passes over U; 0: not fine-tuned at all", ge=0)
    learning_rate: Positive = optional(4.0e-4, "peak of a cosine schedule with 10 % warm-up")
    batch_size: Count = optional(4, "essays an update")
    lora_rank: Count = optional(16, "rank of the adapter matrices")
    lora_targets: Literal["attention", "all-linear"] = optional("attention", 'or "all-linear"')
    target_sd: Amount = optional(0.7, "smoothing of the targets over neighbouring levels, in levels; 0: none")
    max_tokens: int = required("of the essay", ge=32)
    quantization: Literal["none", "nf4"] = optional("none", 'or "nf4": QLoRA, needs CUDA')
    attempts: Count = optional(3, "at most so many, where a fine-tuning fails: everyone gets the same score")
    method: Literal["lora", "frozen", "frozen-then-lora"] = optional(
        "lora", "lora: fine-tuned; frozen: ridge on middle layers; frozen-then-lora: fine-tuned from there"
    )
    layers: Layers = optional([], "whose mean states a frozen Teacher reads; []: three from half of the way up")
    rubric: bool = optional(True, "a frozen Teacher reads the prompt before the essay; false: the bare essay, in less time")
    lora_from: float = optional(
        0.0, "share of the layers, from below, that get no LoRA; with method lora they are computed only once", ge=0, lt=1
    )
    start_at: Literal["model", "human"] = optional("model", 'its own first answers; or "human": U\'s distribution of scores')


class LabelEssays(Section):
    """03: the Teacher scores all essays."""

    engine: Literal["transformers", "vllm"] = optional(
        "transformers", 'or "vllm", where it is installed: for many essays on a GPU'
    )


class TrainStudent(Section):
    """04: Students on human and synthetic scores."""

    models: Distinct[str] = required(
        "encoders: a name in cyborg_utils/models/weights.yaml, a folder, or a hub id @ revision", min_length=1
    )
    heads: Distinct[Head] = required(
        "regression, classification, frozen (ridge on the untouched encoder), frozen-then-tuned", min_length=1
    )
    labels: Distinct[Labels] = required("`full` belongs to fraction 1.0 only", min_length=1)
    epochs: Count = required("passes over the training set")
    min_steps: Count = optional(1, "updates that even a small training set gets")
    learning_rate: Positive = required("peak of a linear schedule with 10 % warm-up")
    batch_size: Count = required("essays an update")
    max_tokens: int = required("of the essay; what stands behind is cut", ge=16)
    layers: Layers = optional([], "whose mean states the frozen heads read; []: from half to two thirds of the way up")
    keep: Distinct[Labels] = optional([], "of the first model and head, the Students that stay on disk once scored; []: all")


class TestSignificance(Section):
    """05: are the arms different?"""

    resamples: Resamples = required("bootstrap and permutation resamples")
    confidence: Confidence
    margin: Positive = required("QWK differences within it count as comparable: half of the 0.10 that practice grants a machine")
    analysis_seed: AnalysisSeed


class AnalyzeBias(Section):
    """06: groups of writers."""

    resamples: Resamples
    confidence: Confidence
    smd_limit: SmdLimit
    min_group: MinGroup = required("groups with fewer test essays are shown, never judged")
    analysis_seed: AnalysisSeed


# ---------------------------------------------------------------- beyond the paper


class CalibrateStudent(Section):
    """07: bias mitigation."""

    beyond_paper = True
    labels: Labels = optional("cyborg", "what the Student learnt from")
    penalty: Amount = optional(3.0, "weight of the mean constraint against the squared error")
    penalty_seeds: Distinct[Seed] = optional([1], "seeds whose Student is trained anew with it; [] leaves it out")
    penalty_by_group: bool = optional(True, "train another one with the mean of every group in the penalty")
    smd_aim: Positive = optional(0.05, "the paper's aim for every group")
    checks: list[Annotated[int, Field(ge=2)]] = optional(
        [50, 100, 200, 400], "numbers of pool essays that people check", min_length=1
    )
    draws: int = optional(200, "random choices of these essays", ge=10)
    min_group: MinGroup = 10
    min_fit: int = optional(30, "groups with fewer development essays get no correction of their own", ge=2)
    smd_limit: SmdLimit = 0.10
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class ScoreTraits(Section):
    """08: several scores of an essay."""

    beyond_paper = True
    traits: Distinct[str] = optional(
        ["Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions"],
        "columns of trait scores in the corpus",
        min_length=1,
        examples=[["Content", "Organization", "Vocabulary", "Mechanics"]],
    )
    share: Share = optional(0.10, "share of X that keeps its human scores")
    seeds: Distinct[Seed] = optional([1], "draw U, initialise, shuffle", min_length=1)
    labels: Distinct[Labels] = optional(["human", "cyborg-soft", "full"], "what the Students learn from", min_length=1)
    alone: Distinct[str] = optional([], "traits that also get Students of their own")
    min_group: MinGroup = optional(30, "smaller groups are shown, never judged")
    smd_limit: SmdLimit = 0.10
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class AuditScores(Section):
    """14: the study's own Student as anybody's scorer; for other files: `cyborg audit`."""

    file: str = optional("", "predictions: CSV, TSV, Excel, Parquet or JSON")
    reading: dict[str, str] = optional({}, "encoding, delimiter, quoting, decimal, sheet or header, where what is found is wrong")
    scoring: dict[str, Any] = optional({}, "labels, condition_codes, combine, adjudication, rater, unscored: how scores are read")
    labels: Labels = optional("cyborg", "which Student, without a file")
    id: str = optional("id", "columns of the file: the essay's name")
    human: str = optional("human", "its human score")
    machine: str = optional("machine", "its machine score")
    others: list[Any] = optional([], "columns of further machines, compared on the same essays")
    pairs: list[Any] = optional([], "which to compare, [[machine, baseline], ...]; left out: each other one with the first")
    second: str = optional("", "a second human score")
    prompt: str = optional("", "the prompt (left out: a column prompt or essay_set): agreement is judged within prompts")
    weight: str = optional("", "sampling weights, with which agreement is shown beside the plain one")
    groups: list[Any] = optional([], "columns that name groups of writers")
    none_is_value: bool = optional(False, "groups called None, NA or the like are groups, not unknown")
    scale: Scale = optional([1, 6, 1], "lowest score, highest score, step; without a file, the study's")
    machine_scale: list[Number] = optional([], "lowest and highest machine score, where its scale is another", max_length=2)
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    smd_limit: SmdLimit = 0.10
    margin: Positive = optional(0.05, "QWK differences of two machines within it count as equal")
    min_group: MinGroup = 10
    analysis_seed: AnalysisSeed = 1


OtherTeacher = create_model(
    "OtherTeacher",
    __base__=Entry,
    __doc__="A Teacher by its name; what it leaves out is as in `finetune_teacher`.",
    name=(str, required("it names a folder", pattern=r"^\w[\w .+-]*$")),
    chat=(bool, left_out("false: the prompt as plain text, without the chat format")),
    **{
        name: Annotated[field.annotation, *field.metadata, left_out(field.description)]
        for name, field in FinetuneTeacher.model_fields.items()
    },
)


class CompareTeachers(Section):
    """09: which Teacher?"""

    beyond_paper = True
    teachers: list[OtherTeacher] = optional(
        [{"name": "zero-shot", "epochs": 0}, {"name": "fine-tuned"}], "what an entry leaves out is the study's own", min_length=1
    )
    shares: Distinct[Share] = optional([0.10], "shares of X that keep their human scores", min_length=1)
    seeds: Distinct[Seed] = optional([1], "draw U, initialise, shuffle", min_length=1)
    min_group: MinGroup = optional(10, "slices with fewer essays are left out")
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class Source(Section):
    """A Student of another study, in build/<profile>/students on this machine."""

    profile: str = required("the study", pattern=r"^\w[\w.-]*$")
    run: str = required("its run, e.g. u10_s1", pattern=r"^u[\d.]+_s\d+$")
    labels: str = required("what the Student learnt from", pattern=r"^\w[\w-]*$")


class TransferCorpora(Section):
    """10: do Student and recipe carry to other essays?"""

    beyond_paper = True
    sources: list[Source] = optional(
        [], "Students of other studies", examples=[[{"profile": "demo", "run": "u100_s1", "labels": "full"}]]
    )
    few: int = optional(30, "human scores of this corpus that a Student from elsewhere is matched on", ge=2)
    held_out: float = optional(0.25, "share of the test essays whose prompts are held out", ge=0, lt=1)
    labels: Distinct[Literal["human", "cyborg", "cyborg-soft", "full"]] = optional(
        ["cyborg"], "Students that never see the held-out prompts; [] trains none"
    )
    seeds: Distinct[Seed] = optional([1], "of these Students, and of the prompts drawn", min_length=1)
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class Cost(Section):
    """11: what a score costs. The sources of these defaults are in `cost.SOURCES`."""

    beyond_paper = True
    currency: str = optional("USD", "of all prices")
    minutes_per_score: Amount = optional(3.0, "of one person for one essay")
    wage_per_hour: Amount = optional(25.0, "what an hour of that person costs")
    double_share: Amount = optional(1.0, "share of essays that a second person scores too")
    setup_minutes: Amount = optional(480.0, "of all raters together, once: learning the rubric")
    price_core_hour: Amount = optional(0.04, "of one CPU core")
    price_gpu_hour: Amount = optional(3.0, "of one GPU")
    future_essays: Count = optional(10_000, "that the machine will score")
    sizes: Distinct[Count] = optional(
        [50, 100, 200, 400, 800, 1600], "human scores to train on in the learning curve; all of X is added", min_length=3
    )
    curve_seeds: Count = optional(10, "draws of human scores, each nested over the sizes")
    margin: Positive = optional(0.02, "QWK below all human scores that is still enough; also what counts as equal")
    students: Distinct[str] = optional(["ridge"], "of the second round: the classical one, or encoders", min_length=1)
    labels: Distinct[Literal["human", "cyborg", "cyborg-soft"]] = optional(
        ["human", "cyborg-soft"], "of the second round: without and with the Teacher's scores elsewhere", min_length=1
    )
    added: Positive = optional(1.0, "human scores of the second round, as a multiple of U")
    draws: Count = optional(5, "of each rule of choice, in each run")
    resamples: Resamples = optional(2000, "of every interval")
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class ScoreEssays(Section):
    """12: a saved Student put to use on new essays."""

    beyond_paper = True
    labels: Labels = optional("cyborg", "which Student, by what it learned from")
    run: RunName = optional("", 'and of which run, e.g. "u10_s1"; "" is the first whose Student is there')
    confidence: Confidence = optional(0.90, "of the prediction intervals")
    risk: Literal["more than one level off", "not exact", "squared error"] = optional(
        "more than one level off", "of the essays that no person scores; squared error in levels"
    )
    targets: Distinct[Positive] = optional([0.05, 0.10, 0.20], "what it may be; each is a promise of its own", min_length=1)
    sure: Confidence = optional(0.95, "confidence of such a promise")
    least_share: float = optional(0.5, "smallest share of essays without a person that is worth a promise", gt=0, le=1)
    min_group: MinGroup = 10
    compared: int = optional(32, "essays that PyTorch and ONNX both score", ge=2)
    rounds: Count = optional(3, "how often, for the speed")
    analysis_seed: AnalysisSeed = optional(1, "of the essays made bad on purpose")


class LabelYourEssays(Section):
    """15: a table in which some essays are scored; the same as `cyborg label`."""

    beyond_paper = True
    share: Share = optional(0.10, "share of the essays that keep their score, where all of them have one")
    minutes: Positive = optional(30.0, "how long reading all essays may take; the Teacher follows from it")
    teacher: str = optional("", "a language model in place of the plan's: a name, a folder, or a hub id @ revision")
    encoder: str = optional("", "an encoder in place of the default one")
    by: Literal["teacher", "student"] = optional("teacher", "whose scores the essays get")
    promise: Literal["adjacent", "exact", "error"] = optional("adjacent", "what must hold for essays that no person scores")
    promised: Positive = optional(0.95, "of them: a share, or a mean error in points")
    sure: Confidence = optional(0.95, "confidence of that promise")
    interval: Confidence = optional(0.90, "of the interval of a single essay")
    fine_tune: bool = optional(False, "also fine-tune the Student, and say whether it was worth it")
    following: int = optional(20, "how many essays to name that people should score next", ge=0)
    draws: int = optional(3, "of the learning curve; 0 leaves it out", ge=0)
    smd_limit: SmdLimit = 0.10
    min_group: MinGroup = 10
    resamples: Resamples = optional(2000, "of every interval")
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class AttackScorer(Section):
    """13: essays written to deceive the Student."""

    beyond_paper = True
    labels: Literal["cyborg", "cyborg-soft"] = optional("cyborg", "what the Students learnt from")
    run: RunName = optional("", 'of which run, e.g. "u10_s1"; "" is the first whose Student is there')
    attacked: int = optional(100, "test essays, drawn at random", ge=2)
    resamples: Resamples = 10_000
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = optional(1, "draws the essays and the attacks' chance")


class RepeatDraws(Section):
    """16: the same experiment over many draws of U, on frozen states, in seconds each."""

    beyond_paper = True
    fractions: Distinct[Share] = optional([0.025, 0.05, 0.10, 0.25, 0.50], "shares of X with human scores", min_length=1)
    draws: int = optional(50, "random choices of U for each share", ge=2)
    splits: Count = optional(3, "splits of all essays: the study's own, and others of the same sizes")
    traits: Distinct[str] = optional([], "columns of trait scores in the corpus, each a study of its own")
    trait_draws: int = optional(10, "draws for each trait, at the share nearest 10 %", ge=2)
    tuned_draws: int = optional(0, "draws whose Students are also fine-tuned from the frozen ones; minutes each", ge=0)
    min_group: MinGroup = 10
    smd_limit: SmdLimit = 0.10
    resamples: Resamples = optional(2000, "of every interval over essays and draws")
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


class ProbeAgreement(Section):
    """17: what the agreement of notebook 16's arms is made of; its draws are those of `repeat_draws`."""

    beyond_paper = True
    bands: int = optional(5, "bands of length, with equally many test essays", ge=2)
    published: str = optional("", "a file of public predictions for the test essays: essay_id, human_score, a column a scorer")
    scorers: Distinct[str] = optional([], "its columns that are scorers")
    resamples: Resamples = optional(2000, "of every interval")
    confidence: Confidence = 0.95
    analysis_seed: AnalysisSeed = 1


# ---------------------------------------------------------------- the file


class Runs(Entry):
    """A row of the grid: one share of human scores with each of its seeds."""

    fraction: Share = required("share of X that keeps its human score")
    seeds: Distinct[Seed] = required("each draws U, initialises and shuffles", min_length=1)
    epochs: Annotated[int, Field(ge=0)] = left_out("of these runs' Teachers, in place of finetune_teacher's")


class StudyFile(Section):
    """A study: a YAML file in params/."""

    title: str
    note: str = optional("", "shown in notebook 00: what this study is, what is ours and not the paper's")
    runs: list[Runs] = required("the grid: every fraction with every one of its seeds", min_length=1)
    prepare_data: PrepareData
    finetune_teacher: FinetuneTeacher
    label_essays: LabelEssays = LabelEssays()
    train_student: TrainStudent
    test_significance: TestSignificance
    analyze_bias: AnalyzeBias
    calibrate_student: CalibrateStudent = left_out("its notebook is executed only where it is given")
    score_traits: ScoreTraits = left_out("its notebook is executed only where it is given")
    audit_scores: AuditScores = AuditScores()
    compare_teachers: CompareTeachers = left_out("its notebook is executed only where it is given")
    transfer_corpora: TransferCorpora = left_out("its notebook is executed only where it is given")
    attack_scorer: AttackScorer = left_out("its notebook is executed only where it is given")
    cost: Cost = left_out("its notebook is executed only where it is given")
    score_essays: ScoreEssays = left_out("its notebook is executed only where it is given")
    repeat_draws: RepeatDraws = left_out("its notebook is executed only where it is given")
    probe_agreement: ProbeAgreement = left_out("its notebook is executed only where it is given")
    label_your_essays: LabelYourEssays = left_out("its notebook is executed only where it is given")


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in StudyFile.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
