"""Operators: one record each, by family; importing this package declares them all."""

from . import core  # isort: skip
from . import compare  # isort: skip
from . import arithmetic  # isort: skip
from . import pointwise  # isort: skip
from . import bitwise  # isort: skip
from . import complexes  # isort: skip
from . import (
    shape,
    windows,
    layout,
    creation,
    ranges,
    join,
    arrange,
    convert,
    index,
    linalg,
    scatter,
    take,
)  # isort: skip
from . import reduce  # isort: skip
from . import stats  # isort: skip
from . import scan  # isort: skip
from . import conv, pool, avgpool, pad, norm  # isort: skip
from . import random, embed  # isort: skip
from . import softmax, activation, loss, rnn, sdpa, attention  # isort: skip
from . import resize, adaptive, unfold, sample  # isort: skip
from . import distance, moreloss, ctc  # isort: skip
from . import sort  # isort: skip
from . import decompose, factor, algebra, matrix, matrixnorm  # isort: skip
from . import viewcopy, quantile  # isort: skip
