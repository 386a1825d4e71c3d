"""The names of torch, gathered from the rooms; `distrib` loads this at its first attribute."""

from . import autograd, config, devices, dtypes, errors, ops
from .autograd import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .devices import device, get_default_device, set_default_device
from .dtypes import (
    bfloat16,
    bool_,
    can_cast,
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .ops.activation import *
from .ops.arithmetic import *
from .ops.bitwise import *
from .ops.compare import *
from .ops.complexes import *
from .ops.pointwise import *
from .ops.reduce import *
from .ops.scan import *
from .ops.softmax import *
from .ops.special import *
from .ops.stats import *
from .ops.arithmetic import *
from .ops.bitwise import *
from .ops.compare import *
from .ops.complexes import *
from .ops.pointwise import *
from .ops.reduce import *
from .ops.scan import *
from .ops.stats import *
from .ops.softmax import *
from .ops.activation import *
from .ops.shape import *
from .ops.layout import *
from .ops.join import *
from .ops.arrange import *
from .ops.ranges import *
from .ops.take import *
from .ops.creation import *
from .ops.convert import *
from .ops.index import *
from .ops.scatter import *
from .ops.linalg import *
from .ops.conv import *
from .ops.pool import *
from .ops.avgpool import *
from .ops.pad import *
from .ops.norm import *
from .ops.random import *
from .ops.embed import *
from .ops.rnn import *
from .ops.resize import *
from .ops.adaptive import *
from .ops.sample import *
from .ops.distance import *
from .ops.moreloss import *
from .ops.ctc import *
from .ops.sort import *
from .ops.algebra import *
from .ops.matrix import *
from .ops.viewcopy import *
from .ops.quantile import *
from .ops.ranges import range_ as range
from .printing import set_printoptions
from .random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .tensor import Size, Tensor

from . import cuda, distributed, nn, optim, random, utils, version  # isort: skip
from .serialization import load, save  # isort: skip

from .version import __version__  # isort: skip

globals().update(dtypes.ALIASES)  # half, float, double, short, int, long, cfloat, cdouble, bool
if config.get("DISTRIB_ALLOCATOR"):
    ops.native.install_allocator()
