"""What controls are called in these tests."""

from emoscale.report.study import ControlWords

CONTROLS = {
    "random": ControlWords(
        "random neurons", "random neurons", "random", "drawn at random, each as likely as any other", exchangeable=True
    ),
    "random-by-layer": ControlWords(
        "random neurons of the same layers",
        "random neurons of the same layers",
        "layer-matched",
        "drawn at random so that every layer loses as many",
    ),
    "random-by-activation": ControlWords(
        "random neurons as active",
        "random neurons that are as active",
        "activation-matched",
        "drawn at random among neurons about as active",
    ),
    "permuted": ControlWords(
        "neurons most selective for permuted attributes",
        "neurons that are most selective for permuted attributes",
        "permuted",
        "those that are most selective for the attribute if the concepts change places",
    ),
    **{
        name: ControlWords(f"{name} neurons", f"{name} neurons", name, f"chosen for {name}")
        for name in ("other", "another")
    },
}
