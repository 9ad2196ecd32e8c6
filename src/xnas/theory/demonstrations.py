"""The demonstrations, in the order of the page."""

from collections.abc import Mapping

from xnas.theory.demonstration import Demonstration
from xnas.theory.initialisation import play_initialisation, table_initialisation
from xnas.theory.initialisation_picture import draw_initialisation
from xnas.theory.late_bloomers import play_late_bloomers, table_late_bloomers
from xnas.theory.late_bloomers_picture import draw_late_bloomers
from xnas.theory.regret_selection import play_regret_selection, table_regret_selection
from xnas.theory.regret_selection_picture import draw_regret_selection
from xnas.theory.weight_decay import play_weight_decay, table_weight_decay
from xnas.theory.weight_decay_picture import draw_weight_decay
from xnas.theory.wipeout_games import play_wipeout, table_wipeout
from xnas.theory.wipeout_picture import draw_wipeout

_ALL = (
    Demonstration(
        name="late-bloomers",
        title="Late bloomers",
        claim=(
            "Section 3.2.1: gradient descent with softmax, and its variants as in DARTS, make it hard for an expert "
            "to recover whose weight is weak at some point, for the gradient reaches it through that weight "
            "(equation 6). XNAS does not hinder late bloomers."
        ),
        setting=(
            "Eight experts, 1,000 rounds, nothing drawn by chance. The bloomer pays nothing, or -1, until a delay has "
            "passed and 1 after it; another expert pays 0.25 all along. Every learner plays at a whole range of step "
            "sizes."
        ),
        to_see=(
            "The leader of XNAS is the expert that has earned most so far, whatever its step size, so it finds the "
            "bloomer as soon as that is the best and whenever it is the best. Gradient descent, with and without "
            "momentum, finds it late or never, unless its steps are so small that the mixture stays nearly uniform "
            "and the regret is high. Adam divides by the size of its gradients and so undoes the hindrance: with a "
            "rate that is large enough it does almost as well as XNAS. A relaxed wipeout, with a small ζ, removes "
            "the bloomer before it blooms."
        ),
        seeds=None,
        play=play_late_bloomers,
        draw=draw_late_bloomers,
        table=table_late_bloomers,
    ),
    Demonstration(
        name="initialisation",
        title="Initial weights",
        claim=(
            "Section 3.2.1: XNAS is more robust to the initialisation of the weights than gradient descent with "
            "softmax and its variants."
        ),
        setting=(
            "Eight experts, 1,000 rounds. The best pays 0.3 in the mean, the others nothing, with normal noise, "
            "clipped to [-1, 1]. The best starts with the weight v₀, the others with 1."
        ),
        to_see=(
            "Gradient descent, with and without momentum, ends at another expert as soon as v₀ is a hundredth, "
            "whatever its step size. XNAS with η* makes good what η* T times the mean lead covers, which is "
            "less where noise is clipped; with twice η* and more it always does here. Adam with a fitting rate is "
            "as robust, with a rate too small or too large it is not."
        ),
        seeds=50,
        play=play_initialisation,
        draw=draw_initialisation,
        table=table_initialisation,
    ),
    Demonstration(
        name="regret-vs-selection",
        title="Regret against selection",
        claim=(
            "Section 3.1: XNAS achieves a better regret than a generic optimizer, and regret goes with the rate of "
            "picking the right expert."
        ),
        setting=(
            "Eight experts, 1,000 rounds. The best pays 0.05 in the mean, the others nothing, with normal noise, "
            "clipped to [-1, 1]. Each point is one step size of one learner; the curves join them in order."
        ),
        to_see=(
            "Up and to the left is better. XNAS picks as well as the rewards themselves tell, at any step size, and "
            "its regret falls as the step size grows beyond η*: η* guards against the worst case, which this "
            "is not. Softmax learners pick as well where their steps are small and the regret is high; with larger "
            "steps the regret falls, and then the rate of picking falls too."
        ),
        seeds=200,
        play=play_regret_selection,
        draw=draw_regret_selection,
        table=table_regret_selection,
    ),
    Demonstration(
        name="weight-decay",
        title="Weight decay",
        claim=(
            "Section 3.2.2 and figure 2: weight decay encourages uniform, dense mixtures: the mean normalised entropy "
            "increases with its coefficient. XNAS does without."
        ),
        setting=(
            "Searches of 28 forecasters with eight experts and 19,500 rounds of synthetic rewards, under Adam with "
            "the settings of DARTS and one coefficient of decay or another. XNAS hears the same rewards."
        ),
        to_see=(
            "The entropy rises with the decay, as figure 2 has it. Where it rises depends on the size of the rewards: "
            "DARTS' coefficient changes little if mean rewards differ by 0.1, and all if they differ by 0.001. "
            "Even without decay Adam's mixtures stay dense at DARTS' rate. Which expert leads suffers much later than "
            "the entropy. XNAS has no decay, but a reward bound L far above the rewards does the same to it."
        ),
        seeds=3,
        play=play_weight_decay,
        draw=draw_weight_decay,
        table=table_weight_decay,
    ),
    Demonstration(
        name="wipeout",
        title="Wipeout",
        claim=(
            "Lemma 1: the best expert in hindsight cannot be wiped out. Section 3.2.1: a threshold relaxed by "
            "ζ < 1 saves more, at the price of a violation of the theoretical regret."
        ),
        setting=(
            "XNAS at η*, eight experts, 1,000 rounds with normal noise of 0.5, clipped to [-1, 1]. In the clear "
            "games one expert leads by 0.3 per round, in the close ones by 0.05; the bloomer pays nothing in the "
            "first half and 1 in the second, against a steady 0.25."
        ),
        to_see=(
            "With ζ = 1 the best is never lost, and little is saved: nobody can go in the first half of the search. "
            "Where the lead is clear the saving grows as ζ falls and costs nothing. In a close race the best is "
            "lost now and then, and a late bloomer always once ζ is small, with a regret far above the bound."
        ),
        seeds=200,
        play=play_wipeout,
        draw=draw_wipeout,
        table=table_wipeout,
    ),
)

DEMONSTRATIONS: Mapping[str, Demonstration] = {each.name: each for each in _ALL}
