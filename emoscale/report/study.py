"""What was studied and how, in the words of a report. Whoever asks for a report fills it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ControlWords:
    """What a kind of control is called.

    Parameters
    ----------
    label : str
        Its neurons in a table or a legend: ``random neurons``.
    neurons : str
        Its neurons inside a sentence, after "as many".
    adjective : str
        Before the word mask.
    drawn : str
        How its neurons are chosen, after "are".
    exchangeable : bool
        Whether its masks differ in chance alone, even if each was drawn for an attribute.
    is_drawn : bool
        Whether chance chooses its neurons. The others are a yardstick.
    cross_fitted : bool
        Whether each half of the items chooses neurons by which the other half is judged.
    """

    label: str
    neurons: str
    adjective: str
    drawn: str
    exchangeable: bool = False
    is_drawn: bool = True
    cross_fitted: bool = False


@dataclass(frozen=True)
class EditWords:
    """How neurons were switched off.

    Parameters
    ----------
    done : str
        What happened to them, after "all neurons of a mask".
    limit : str
        What this leaves open, in sentences.
    """

    done: str
    limit: str


@dataclass(frozen=True)
class OutcomeWords:
    """What effects are measured in.

    Parameters
    ----------
    noun : str
        In a sentence: ``accuracy``, ``the log-odds of the right answer``.
    unit : str
        Of a difference; empty for a share.
    is_accuracy : bool
    normalization : str
        How scores were made comparable.
    normalizations : mapping of str to str
        What each normalization is, after "by".
    """

    noun: str
    unit: str
    is_accuracy: bool
    normalization: str
    normalizations: Mapping[str, str] = field(default_factory=dict)

    @property
    def scored_by(self) -> str:
        """What the chosen normalization is, after "by"."""
        return self.normalizations.get(self.normalization, self.normalization)

    @property
    def label(self) -> str:
        """The noun without its article, for an axis."""
        return self.noun.removeprefix("the ")

    @property
    def clause(self) -> str:
        """The noun at the beginning of a sentence."""
        return self.noun[0].upper() + self.noun[1:]


@dataclass(frozen=True)
class RankingWords:
    """What a ranking of the neurons is called.

    Parameters
    ----------
    label : str
        Completes "ranked by".
    by_effects : bool
        Whether estimated effects make it.
    """

    label: str
    by_effects: bool = False


@dataclass(frozen=True)
class Opening:
    """What a report may begin with: a table and sentences about it.

    Parameters
    ----------
    title : str
    sentences : list of str
        Before the table.
    header : list of str
    rows : list of list of str
    points_title : str
    points : list of str
        After the table, one a point.
    """

    title: str
    sentences: list[str]
    header: list[str]
    rows: list[list[str]]
    points_title: str
    points: list[str]


@dataclass(frozen=True)
class Design:
    """Every number of a run's design, and where it comes from, for a paragraph on methods.

    Parameters
    ----------
    model, revision : str
        The revision is empty where none was asked for.
    neurons, layers : int
    site : str
        What its neurons are.
    concepts, attributes, replicates : int
    represented_by : str
        What represents a concept.
    raters : str
        How many people gave the attributes' scores; empty if it is not known.
    icc : str
        How well they agreed; empty if it is not known.
    judges : str
        Whose judgements of how different the concepts are were used; empty without any.
    texts : tuple of int
        To learn from, and held out.
    task, items : str
        What the model was asked.
    measure : str
    permutations, selectivity_seed : int
        No permutations: p from the published approximation.
    alpha : float
        Of the false discovery rate.
    masks : str
        Kinds of control with their numbers.
    mask_seed : int
    edit : str
        What becomes of neurons, after "all neurons of a mask".
    smallest_effect, smallest_accuracy_effect : float
    command, version, created : str
    hashes : mapping of str to str
        By what they are of.
    """

    model: str
    revision: str
    neurons: int
    layers: int
    site: str
    concepts: int
    attributes: int
    replicates: int
    represented_by: str
    raters: str
    icc: str
    judges: str
    texts: tuple[int, int]
    task: str
    items: str
    measure: str
    permutations: int
    selectivity_seed: int
    alpha: float
    masks: str
    mask_seed: int
    edit: str
    smallest_effect: float
    smallest_accuracy_effect: float
    command: str
    version: str
    created: str
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """What a report says of a run that the run's tables do not.

    Parameters
    ----------
    title : str
    facts : mapping of str to str
        What was studied: model, texts, prompts and so on, in the order they are shown.
    edit : EditWords
    outcome : OutcomeWords
    controls : mapping of str to ControlWords
        By the kind in the mask table; at least those that the run has.
    disjoint : bool
        Whether controls were drawn only from neurons outside the selective mask.
    learned_prompts : bool
        Whether the concepts were inferred with tuned prompts.
    replicates : str
        What a concept's replicates are, in the plural.
    outputs : mapping of str to str
        What may be in the run folder: paths relative to it, and what each holds. What is not there is not shown.
    rankings : mapping of str to RankingWords
        By name; one without words is called by its name.
    others : str
        What became of all neurons but the first ones of a ranking.
    opening : Opening, optional
        Placed before everything else.
    design : Design, optional
        For the paragraph on methods, which is left out without it.
    warnings : sequence of str
        What weakens the design: sentences without their full stops, for the limits.
    as_published : bool
        Whether the published tests are shown, whatever this project's own say.
    k : int, optional
        Size of the masks that the figures show; by default that which the answers are about.
    """

    title: str
    facts: Mapping[str, str]
    edit: EditWords
    outcome: OutcomeWords
    controls: Mapping[str, ControlWords]
    disjoint: bool = False
    learned_prompts: bool = True
    replicates: str = "prompts"
    outputs: Mapping[str, str] = field(default_factory=dict)
    rankings: Mapping[str, RankingWords] = field(default_factory=dict)
    others: str = "were edited"
    opening: Opening | None = None
    design: Design | None = None
    warnings: Sequence[str] = ()
    as_published: bool = False
    k: int | None = None
