"""The settings of a run, stage by stage. Defaults are the published study's where it had the choice to make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

PUBLISHED_SEEDS = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 42, 100]
PUBLISHED_K: list[int | float] = [1500, 2000, 2500, 3000, 4000, 5000, 6000]

Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Precision = Literal["auto", "exact", "bfloat16"]


def _bytes(value: object) -> int:
    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError as error:
        raise ValueError("give a size such as 4 GB") from error


Bytes = Annotated[StrictInt, BeforeValidator(_bytes), Field(ge=1)]


def _each_once(values: list[Any]) -> list[Any]:
    if doubled := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"name each once, {', '.join(map(str, doubled))} is there several times")
    return values


class Section(BaseModel):
    """A group of settings; a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", strict=False, protected_namespaces=())


class ModelSettings(Section):
    """The language model."""

    name: str
    """A folder, ``package:NAME/FOLDER`` inside an installed Python package, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    sha256: str | None = None
    """What the weights file must hash to; checked before use."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights in memory."""
    site: str = "ffn"
    """Where neurons are: ``ffn``, the input of each block's second feed-forward map; ``attention``, the heads' outputs;
    of an encoder-decoder model ``encoder``, ``decoder``, ``encoder attention``, ``decoder attention``; or the path of a
    linear map with ``{layer}``."""
    trust_remote_code: StrictBool = False
    """Run Python code that comes with the model."""


class ConceptSettings(Section):
    """The concepts and what people say of them."""

    attributes: str = "emotions"
    """``emotions`` (27 emotions, 14 attributes), or a CSV: concept, then one column an attribute."""
    dissimilarity: str | None = None
    """A CSV of concept_1, concept_2, dissimilarity; the built-in one goes with the built-in attributes."""
    names: list[str] | None = None
    """Concepts to use, in this order; all of the table when left out."""


class StimuliSettings(Section):
    """The texts prompts are trained and judged on."""

    source: Literal["scenarios", "goemotions", "file", "dataset"] = "scenarios"
    """``scenarios`` (built in), ``goemotions`` (its own tsv layout), ``file``, or ``dataset`` (a hub name)."""
    path: str | None = None
    """Folder, file or hub name, by source."""
    dev_path: str | None = None
    """File of held-out texts, when they have their own."""
    text_column: str = "text"
    label_column: str = "label"
    label_separator: str | None = None
    """What separates the labels in a cell, when a text may have several."""
    split_column: str | None = None
    """Column that says train or dev."""
    dev_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of texts held out when the source does not say which."""
    seed: Seed = 0
    """Of the draw of held-out texts."""
    max_tokens: Count = 256
    """Texts are cut to so many tokens."""
    train_texts: Count | None = None
    """The most texts of a concept a prompt learns from; as many again do not show it."""
    dev_texts: Count | None = None
    """The most held-out texts of a concept; as many again do not show it."""
    negatives: Literal["others", "any"] = "others"
    """Texts that do not show the concept: drawn from the others, or, as published, from any."""


class TuningSettings(Section):
    """Prompt tuning."""

    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)] = PUBLISHED_SEEDS
    """One prompt a concept and seed; the seed is the replicate."""
    layout: Literal["mask-first", "prefix"] = "mask-first"
    """``mask-first`` is the published one (masked language models); ``prefix`` suits encoders and causal models."""
    prompt_length: Count = 100
    verbaliser: Annotated[list[str], Field(min_length=2, max_length=2)] = ["negative", "positive"]
    """Words for "does not show the concept" and "shows it", where the model predicts words."""
    epochs: Count = 2
    patience: Count | None = None
    """Epochs without a better result on the held-out texts (accuracy, then loss) after which a prompt is trained no
    further; each takes all epochs, as published, when left out."""
    batch_size: Count = 16
    learning_rate: Rate = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    prompts_per_group: Count = 27
    """Prompts trained and saved together."""
    tokens_per_pass: Count | None = None
    """The most tokens of one forward pass, padding included; 1,024 on CPUs and 8,192 on GPUs when left out."""
    precision: Precision = "auto"


class ExtractionSettings(Section):
    """Activations."""

    rows: Literal["prompts", "templates", "texts", "tokens"] = "prompts"
    """What stands for a concept: its tuned prompts, carrier sentences that name it, every text labelled with it, or
    every token of those texts."""
    read: Literal["first", "mask", "last", "concept-last", "concept-mean", "mean", "all"] | None = None
    """Where a row is read: the first, last or mask token, the last of the concept's tokens or their mean, the mean over
    all tokens, or each token as a row of its own. Left out: prompts where their task reads them, sentences at
    ``concept-last``, texts at ``mean``."""
    split: Literal["train", "dev", "all"] = "train"
    """Which texts."""
    templates: list[str] | None = None
    """Carrier sentences with ``{concept}``; built-in ones when left out."""
    padding: Literal["right", "left"] = "right"
    """Where rows of one forward pass that are shorter than the longest are filled up; the values are the same."""
    keep: Literal["activations", "moments"] = "activations"
    """Every row's activations, or only count, mean and spread by concept and replicate, whatever the number of rows."""
    parts: Count = 16
    """Moments are summed up in so many parts of the rows, which the ranks share; each takes as much disk as the result
    until all are done."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type of the activations in the store; moments are float64."""
    non_finite: Literal["stop", "keep"] = "stop"
    """What to do when an activation overflows or is not a number."""
    block_rows: Count = 1024
    """Rows computed, written and committed at a time."""
    batch_rows: Count = 32
    """Rows of one forward pass."""
    chunk_neurons: Count = 1024
    """Neurons in a chunk of the store."""


class SelectivitySettings(Section):
    """Selectivity of every neuron for every attribute."""

    measure: Literal["kendall"] = "kendall"
    inference: Literal["permutation", "asymptotic"] = "permutation"
    """Where p come from: permutations of the concepts, or the published approximation, whose p are too small."""
    permutations: Count = 999
    seed: Seed = 0
    """Of the permutations."""
    row_measures: list[
        Literal["mean", "variance", "eta_squared", "pearson", "spearman", "auroc", "average_precision"]
    ] = []
    """Measures over single rows (texts, tokens) to compute as well, into row_measures.zarr."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """A neuron is significant when q is below."""
    block_neurons: Count | None = None
    """The most neurons of one task; as many as machine.memory_limit allows when left out."""


class MaskSettings(Section):
    """Which neurons are switched off."""

    k: Annotated[list[StrictInt | StrictFloat], Field(min_length=1)] = PUBLISHED_K
    """How many neurons: numbers, or fractions of all."""
    controls: Annotated[
        list[Literal["uniform", "layer-matched", "activation-matched"]],
        Field(min_length=1),
        AfterValidator(_each_once),
    ] = ["uniform"]
    """What losing the selective neurons is compared with: as many drawn evenly from all; as many in every layer; or as
    many of every level of mean absolute activation. Matched ones are drawn for each attribute."""
    disjoint: StrictBool = False
    """Draw controls only from neurons that are not selective for the attribute; uniform ones then for each attribute,
    too."""
    draws: Count = 5
    """Controls of each kind for each k (and attribute)."""
    seed: Seed = 0
    """Of the controls."""


class AblationSettings(Section):
    """Inference with neurons edited."""

    task: Literal["prompts", "words", "choice"] = "prompts"
    """What the model is asked: ``prompts``, whether held-out texts show a concept, with the concept's tuned prompts;
    ``words``, the same in plain words; ``choice``, which of all concepts a text shows, by how likely the model finds
    each one's name after it (causal models)."""
    templates: list[str] | None = None
    """What texts are put into, by tasks in plain words: with ``{text}``; for ``words`` also ``{concept}``, and
    ``{mask}`` for masked models. Several are replicates. Built-in ones when left out."""
    words: Annotated[list[str], Field(min_length=2, max_length=2)] = ["no", "yes"]
    """Of ``task: words``: those for "does not show the concept" and "shows it"."""
    edit: Literal["zero", "scale", "mean", "resample"] = "zero"
    """What becomes of masked neurons: 0, as published; ``factor`` times themselves; their mean over the extraction's
    rows; or what they were in one of these rows, drawn for each text and mask."""
    factor: Annotated[StrictFloat, Field(allow_inf_nan=False)] = 0.5
    """Of ``edit: scale``."""
    seed: Seed = 0
    """Of ``edit: resample``."""
    masks_per_unit: Count = 64
    """Masks in one unit of work, with one concept and replicate."""
    tokens_per_pass: Count | None = None
    """Tokens of one forward pass; found by trying when left out."""
    precision: Precision = "exact"
    """``exact`` is the type of the weights; ``bfloat16`` is faster where the device has it, and moves some answers."""


class MachineSettings(Section):
    """Where to compute; may change between stages of one run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count | None = None
    """CPU threads of each process; the machine's cores shared out when left out."""
    split_model: Literal["layers", "tensors"] | None = None
    """For models larger than a device: spread the layers over this process's devices, or every layer's tensors over the
    processes (tensor parallelism). Each process holds the whole model when left out."""
    writers: Count = 2
    """Threads of each process that write activations to disk while the next are computed."""
    backend: Literal["auto", "cpu", "cuda"] = "auto"
    """What compares RDMs under permutation; ``auto`` takes a GPU where there is one."""
    memory_limit: Bytes | None = None
    """Memory that activations take while selectivity is computed, e.g. ``4 GB``, in each process; a quarter of what is
    free when left out."""
    scheduler: str | None = None
    """Address of a running Dask cluster for the selectivity stage, e.g. ``tcp://10.0.0.1:8786``."""
    cluster: Literal["slurm"] | None = None
    """Kind of cluster to start for the selectivity stage; dask-jobqueue's own settings say what a job is."""
    workers: Count = 4
    """Worker processes of the cluster that is started."""

    @field_validator("cluster")
    @classmethod
    def _is_the_only_one(cls, cluster: str | None, given: ValidationInfo) -> str | None:
        if cluster and given.data.get("scheduler"):
            raise ValueError("machine.scheduler is set too, keep one of them")
        return cluster


class Settings(Section):
    """Everything a run needs."""

    title: str = "emoscale"
    model: ModelSettings
    concepts: ConceptSettings = ConceptSettings()
    stimuli: StimuliSettings = StimuliSettings()
    tuning: TuningSettings = TuningSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    selectivity: SelectivitySettings = SelectivitySettings()
    masks: MaskSettings = MaskSettings()
    ablation: AblationSettings = AblationSettings()
    machine: MachineSettings = MachineSettings()
