"""What the JSON files of a release may hold: every entry with its kind and its range, checked before any is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dlrs_site.settings import OwnName, OwnVariable, short

SEQUENCES = ("T2W", "ADC")
TRACKS = ("as published", "out-of-fold")  # probabilities of the primary cohort that the Cox models were fitted to
MONTHS = (12, 24, 36)  # at which the baseline survival is written out
MAX_BYTES = 2_000_000  # of a JSON file; those of the default run have 20,000
MAX_MONTHS = 600

# Text that goes onto pages and cards: no markup, no control characters, no formula of a spreadsheet.
Label = Annotated[str, StringConstraints(pattern=r"^[^\W_][^<>&`|\x00-\x09\x0b-\x1f]{0,199}$")]
Mark = Annotated[str, StringConstraints(pattern=r"^[^<>&`\x00-\x1f]{1,200}$")]  # a level or number, on pages only
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,99}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Real = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Horizon = Annotated[float, Field(gt=0, le=MAX_MONTHS)]
Coefficients = Annotated[dict[str, Real], Field(min_length=1, max_length=100)]
Hazards = Annotated[list[Annotated[float, Field(ge=0, le=1e6)]], Field(min_length=2, max_length=MAX_MONTHS + 1)]
CohortClass = Literal["SYNTHETIC", "COHORT"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Baseline(Part):
    """A cumulative hazard at whole months."""

    time: Hazards
    cumulative_hazard: Hazards


class Cox(Part):
    """One Cox model: coefficients and means by column of the design, baseline at the means."""

    coefficients: Coefficients
    means: Annotated[dict[str, Real], Field(max_length=100)]
    baseline: Baseline
    baseline_survival: dict[Literal["12", "24", "36"], Probability]


class Cutoffs(Part):
    """Above them a patient is at high risk."""

    dl_prob: Annotated[float, Field(ge=0, le=2)]
    risk_Nomogram: Probability


class Preprocessing(Part):
    """How boxes are cut, as notebook 02 is told it."""

    box_size: Annotated[int, Field(ge=8, le=512)]
    n_slices: Annotated[int, Field(ge=1, le=200)]
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    zscore: Literal["slice", "box", "roi"]
    keep_outside_roi: bool
    nonpositive_adc: Annotated[float, Field(ge=0, le=10_000)]


class Counts(Part):
    """The patients of one network."""

    learnt_from: Count
    held_out: Count
    metastasis: Count


class TrainedOn(Part):
    """The primary cohort."""

    patients: Annotated[int, Field(ge=1, le=10_000_000)]
    metastases: Count
    T2W: Counts
    ADC: Counts


class Performance(Part):
    """One measure of one model in the run that it was made in."""

    measure: Label
    model: Literal["DLRS", "T2W", "ADC", "Clinical", "Nomogram"]
    cohort: Literal["primary", "validation"]
    value: Real
    ci: Annotated[list[Real], Field(min_length=2, max_length=2)] | None
    n: Count


class Manifest(Part):
    """`model.json`."""

    format: Annotated[int, Field(ge=1)]
    class_: CohortClass = Field(alias="class")
    track: Literal[TRACKS] = TRACKS[0]
    horizon_months: Horizon
    cutoffs: Cutoffs
    preprocessing: Preprocessing
    cox: Annotated[dict[str, Cox], Field(max_length=20)]
    variables: Annotated[dict[OwnName, OwnVariable], Field(max_length=100)] = {}  # of the models and not of the paper
    trained_on: TrainedOn
    performance: Annotated[list[Performance], Field(max_length=200)]
    versions: Annotated[dict[Label, Label], Field(max_length=50)]
    files: Annotated[dict[str, Digest], Field(max_length=50)]
    sha256: Digest


class Parameters(BaseModel):
    """How a network was trained; what predicting with it takes is checked, the rest is told."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, bool | int | float | Label]
    batch_size: Annotated[int, Field(ge=1, le=1024)]
    threads: Annotated[int, Field(ge=1, le=256)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    weights: FileName


Size = Annotated[int, Field(ge=-1, le=100_000)]
Setting = bool | Size | Annotated[float, Field(ge=0, le=1)] | Label | Annotated[list[Size], Field(max_length=5)] | None


class Layer(Part):
    """One layer of a network, and those inside it; see `dlrs.imaging.resnet.architecture`."""

    layer: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,39}$")]
    settings: Annotated[dict[Label, Setting], Field(max_length=30)] = {}
    parts: Annotated[dict[Label, Layer], Field(max_length=200)] = {}


class Network(BaseModel):
    """`T2W/model.json` and `ADC/model.json`; what else they tell of the training is not used."""

    model_config = ConfigDict(extra="ignore", strict=True)
    parameters: Parameters
    network: Layer
    box_shape: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=3, max_length=3)]
    weights_sha256: Digest


class Scale(BaseModel):
    """One axis of the nomogram."""

    model_config = ConfigDict(extra="ignore", strict=True)
    label: Label
    text: Annotated[list[int | float | Mark], Field(max_length=1000)]


class Nomogram(BaseModel):
    """`nomogram.json`, the combination model as points; what else it holds is not used."""

    model_config = ConfigDict(extra="ignore", strict=True)
    class_: CohortClass = Field(alias="class")
    cutoff_risk: Probability
    horizon_months: Horizon
    effects: Annotated[dict[Label, dict[Mark, Real]], Field(max_length=100)]
    scales: Annotated[list[Scale], Field(max_length=100)] = []


RISK = "1 - baseline_survival[months] ** exp(sum of coefficient * (value - mean)); of a level value is 1 or 0"


class Term(Part):
    """One coefficient: of a number, or of a level against the reference, which is the first in `levels`."""

    term: Label
    level: Mark | None
    coefficient: Real
    mean: Real = Field(description="in the patients that the model was fitted on")


class EquationOfModel(Part):
    """A Cox model as far as risks at 12, 24 and 36 months take it."""

    terms: Annotated[list[Term], Field(min_length=1, max_length=100)]
    levels: dict[Label, Annotated[list[Mark], Field(min_length=2, max_length=100)]]
    baseline_survival: dict[Literal["12", "24", "36"], Probability] = Field(description="at the means, by months")


class Equation(Part):
    """`equation.json`: the probability of distant metastasis by 12, 24 or 36 months, by model."""

    class_: CohortClass = Field(alias="class")
    risk: Literal[RISK]
    models: Annotated[dict[str, EquationOfModel], Field(min_length=1, max_length=20)]


class Unfit(ValueError):
    """An entry is not what a release of this package has."""

    def __init__(self, found: str, expected: str):
        super().__init__(found)
        self.expected = expected


def check(model: type[BaseModel], content: dict) -> None:
    """Hold the content of a JSON file against its model.

    Raises
    ------
    Unfit
        Of the first entry that is wrong.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, value = ".".join(map(str, first["loc"])), first["input"]
        if first["type"] == "missing":
            found = f"lacks {place}"
        elif first["type"] == "extra_forbidden":
            found = f"has {place}"
        else:
            found = f"{place} is {short(value)}" if not isinstance(value, dict | list) else f"{place} has another form"
        raise Unfit(found, _expected(first)) from error


def _expected(error: dict) -> str:
    if error["type"] in ("missing", "extra_forbidden"):
        return "the entries of a release" if error["type"] == "missing" else "no other entries than a release has"
    if error["type"] == "string_pattern_mismatch":
        return "plain text, without markup, formulas or paths"
    message = error["msg"].removeprefix("Input should be ")
    return f"a value {message}" if message.startswith(("greater", "less")) else message[0].lower() + message[1:]
