"""Schemes: initialisations by name, each with its law and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netassay.errors import UnknownName
from netassay.inits.evidence import KEPT
from netassay.inits.fans import Fans, counted
from netassay.inits.laws import Law

SIGMA = 0.02
"""Standard deviation of the parent of the truncated normal scheme."""


@dataclass(frozen=True)
class Scheme:
    """How weights are drawn: a name, a law for each pair of fans, and where it was published.

    `law` is None where each module draws by its own reset; `scaled`: afterwards every layer's weight is divided
    by a number of its own, found from data.

    >>> INITS["kaiming_normal"].variance(Fans(fan_in=8, fan_out=4))
    0.25
    """

    name: str
    source: str
    law: Callable[[Fans], Law] | None
    scaled: bool = False

    @property
    def family(self) -> str:
        """The shape of the distribution: normal, uniform, ..., "own" where each module has its own."""
        # With several taps, since on a single one a delta-orthogonal kernel is an orthogonal matrix.
        return "own" if self.law is None else self.law(Fans(9, 9, 9)).family

    def variance(self, fans: Fans) -> float | None:
        """Predict the variance of a weight; None where it hangs on the module or on data."""
        return None if self.law is None or self.scaled else self.law(fans).variance(fans)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw matrices `(groups, out, in, *kernel)` in float64, for `scaled` schemes the start.

        >>> from netassay.seeds import generator
        >>> INITS["ones"].draw((1, 2, 2), generator(0)).tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
        """
        if self.law is None:
            raise UnknownName("scheme with a law", self.name, [name for name in INITS if INITS[name].law])
        return self.law(counted(shape)).draw(shape, generator)


class Schemes(Mapping[str, Scheme]):
    """Initialisation schemes by name.

    Kaiming and Xavier have the gain sqrt(2) of ReLU, and so has orthogonal, whose kernels are matrices
    `(out, in / groups * taps)`, each group by itself. The truncated normal's 0.02 is of the normal before the cut at
    twice that; what is left has variance 0.7737 * 0.02**2. Delta-orthogonal kernels are zero but for the tap at
    `size // 2`; its matrix has gain 1 and orthonormal columns, or orthonormal rows where there are fewer outputs than
    inputs. LSUV starts from matrices of gain 1 and divides each by the standard deviation of its layer's output.

    >>> list(INITS)[:3], INITS["orthogonal"].family
    (['kaiming_normal', 'kaiming_uniform', 'xavier_normal'], 'orthogonal')
    """

    def __init__(self, *schemes: Scheme) -> None:
        self._known = {scheme.name: scheme for scheme in schemes}

    def __getitem__(self, name: str) -> Scheme:
        if not isinstance(name, str) or name not in self._known:
            raise UnknownName("scheme", name, self._known, f"use one of {', '.join(self._known)}")
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


HE = "He et al. 2015, arXiv 1502.01852, equation 10"
GLOROT = "Glorot & Bengio 2010, AISTATS, equations 12 and 16, times gain 2"
SAXE = "Saxe et al. 2014, arXiv 1312.6120"
LECUN = "LeCun et al. 1998, Efficient BackProp, section 4.6"
BERT = "Devlin et al. 2019, arXiv 1810.04805, its published code"
XIAO = "Xiao et al. 2018, arXiv 1806.05393"
MISHKIN = "Mishkin & Matas 2016, arXiv 1511.06422, algorithm 1"
NONE = "a control: no scheme in use"
ROOT = 2**0.5

INITS = Schemes(
    Scheme("kaiming_normal", HE, lambda fans: Law("normal", 2 / fans.fan_in)),
    Scheme("kaiming_uniform", HE, lambda fans: Law("uniform", 2 / fans.fan_in)),
    Scheme("xavier_normal", GLOROT, lambda fans: Law("normal", 4 / (fans.fan_in + fans.fan_out))),
    Scheme("xavier_uniform", GLOROT, lambda fans: Law("uniform", 4 / (fans.fan_in + fans.fan_out))),
    Scheme("orthogonal", SAXE, lambda fans: Law("orthogonal", ROOT)),
    Scheme("ones", NONE, lambda fans: Law("constant", 1.0)),
    Scheme("zeros", NONE, lambda fans: Law("constant", 0.0)),
    Scheme("default", "torch: each module's reset_parameters", None),
    Scheme("lecun_normal", LECUN, lambda fans: Law("normal", 1 / fans.fan_in)),
    Scheme("lecun_uniform", LECUN, lambda fans: Law("uniform", 1 / fans.fan_in)),
    Scheme("truncated_normal", BERT, lambda fans: Law("truncated normal", KEPT * SIGMA**2)),
    Scheme("delta_orthogonal", XIAO, lambda fans: Law("delta orthogonal" if fans.taps > 1 else "orthogonal", 1.0)),
    Scheme("lsuv", MISHKIN, lambda fans: Law("orthogonal", 1.0), scaled=True),
)
