"""The table of measures: a name, or a name with options, and the measure it stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from netassay.errors import UnknownName
from netassay.measures.cca import cca, cca_squared, pwcca, svcca
from netassay.measures.cka import cka, cka_biased, cka_rbf
from netassay.measures.dissimilarity import rsa
from netassay.measures.matching import permutation, soft_matching
from netassay.measures.measure import Measure
from netassay.measures.neighbours import mutual_knn
from netassay.measures.outputs import disagreement, jsd
from netassay.measures.procrustes import angular_procrustes, nbs, procrustes
from netassay.measures.regression import correlation, mse, regression
from netassay.spec import call, parse


class Measures(dict[str, Callable[..., Measure]]):
    """Measures of similarity by name; calling one with its options gives the measure, and what it declares.

    >>> MEASURES["cka"]().smallest(1000, 1000), MEASURES["mutual_knn"](k=5).direction
    (4, 'similarity')
    """


MEASURES = Measures(
    {
        "cka": cka,
        "cka_biased": cka_biased,
        "cka_rbf": cka_rbf,
        "cca": cca,
        "cca_squared": cca_squared,
        "svcca": svcca,
        "pwcca": pwcca,
        "procrustes": procrustes,
        "angular_procrustes": angular_procrustes,
        "nbs": nbs,
        "permutation": permutation,
        "soft_matching": soft_matching,
        "rsa": rsa,
        "mutual_knn": mutual_knn,
        "regression": regression,
        "mse": mse,
        "correlation": correlation,
        "disagreement": disagreement,
        "jsd": jsd,
    }
)


def named(spec: str) -> Measure:
    """Return the measure that a spec names; its options are those of the function in `MEASURES`.

    >>> named("mutual_knn:k=5").smallest(3, 3)
    7
    """
    parsed = parse(spec)
    if parsed.name not in MEASURES:
        raise UnknownName("measure", parsed.name, MEASURES)
    measure: Measure = call(MEASURES[parsed.name], parsed)
    return replace(measure, name=str(parsed))
