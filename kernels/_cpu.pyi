"""Types of the C++ extension: CPU kernels, arrays in, arrays out.

Arrays are float32 or float64 (one dtype per call) unless said; inputs of any strides, copied where
they are not in C order (images and attention heads: not channels last, not dense in the last
dimension); outputs are new arrays. TypeError names a wrong dtype, ValueError a wrong shape. What a
kernel computes does not depend on the number of threads.
"""

from typing import Any

_Array = Any
_Ints = tuple[int, ...]
_Pair = tuple[int, int]

# Threads, build, memory
def isa() -> str: ...
def build_info() -> dict[str, Any]: ...
def get_num_threads() -> int: ...
def set_num_threads(num_threads: int, /) -> None: ...
def install_allocator() -> None: ...
def uninstall_allocator() -> None: ...
def memory_stats() -> dict[str, Any]: ...
def reset_peak_memory_stats() -> None: ...
def empty_cache() -> None: ...
def set_memory_limit(num_bytes: int | None, /) -> None: ...
def set_cache_limit(num_bytes: int, /) -> None: ...

# MT19937: state is 625 uint32 words (624 and the index of the next); fills write to `out`
def mt_seed(state: _Array, seed: int, /) -> None: ...
def mt_words(state: _Array, out: _Array, /) -> None: ...
def mt_uniform(state: _Array, out: _Array, low: float = ..., high: float = ..., /) -> None: ...
def mt_normal(state: _Array, out: _Array, mean: float = ..., std: float = ..., /) -> None: ...
def mt_bernoulli(state: _Array, out: _Array, p: float, /) -> None: ...
def mt_randint(state: _Array, out: _Array, low: int, num_values: int, /) -> None: ...
def mt_randperm(state: _Array, out: _Array, /) -> None: ...

# Optimizers: lists of arrays, in place
def adam(
    params: list[_Array],
    grads: list[_Array],
    exp_avgs: list[_Array],
    exp_avg_sqs: list[_Array],
    max_exp_avg_sqs: list[_Array] | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: float,
    decoupled: bool,
    maximize: bool,
    /,
) -> None: ...
def sgd(
    params: list[_Array],
    grads: list[_Array],
    momentum_buffers: list[_Array] | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
    /,
) -> None: ...
def sum_squares(arrays: list[_Array], /) -> float: ...
def sum_squares_each(arrays: list[_Array], /) -> _Array: ...
def scale(arrays: list[_Array], factor: float, /) -> None: ...

# Convolution, (N, C, 1 to 3 dimensions), C order or channels last
def conv(
    input: _Array,
    weight: _Array,
    bias: _Array | None,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    /,
) -> _Array: ...
def conv_input_grad(
    grad: _Array,
    weight: _Array,
    input_shape: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    /,
) -> _Array: ...
def conv_weight_grad(
    grad: _Array,
    input: _Array,
    weight_shape: _Ints,
    stride: _Ints,
    padding: _Ints,
    dilation: _Ints,
    groups: int,
    /,
) -> _Array: ...
def channel_sum(grad: _Array, /) -> _Array: ...

# Pooling, (N, C, H, W); taps are uint8: which element of the window won
def max_pool2d(
    input: _Array,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    ceil_mode: bool,
    /,
) -> tuple[_Array, _Array]: ...
def max_pool2d_grad(
    grad: _Array,
    taps: _Array,
    input_size: _Pair,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    /,
) -> _Array: ...
def max_pool2d_indices(
    taps: _Array,
    input_size: _Pair,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    /,
) -> _Array: ...
def avg_pool2d(
    input: _Array,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...
def avg_pool2d_grad(
    grad: _Array,
    input_size: _Pair,
    kernel_size: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...

# Normalisation
def batch_norm(
    input: _Array,
    weight: _Array | None,
    bias: _Array | None,
    running_mean: _Array | None,
    running_var: _Array | None,
    momentum: float,
    eps: float,
    relu: bool,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def batch_norm_grad(
    grad: _Array,
    input: _Array,
    output: _Array | None,
    weight: _Array | None,
    mean: _Array,
    rstd: _Array,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def batch_norm_eval(
    input: _Array,
    weight: _Array | None,
    bias: _Array | None,
    running_mean: _Array,
    running_var: _Array,
    eps: float,
    relu: bool,
    /,
) -> _Array: ...
def layer_norm(
    input: _Array, width: int, weight: _Array | None, bias: _Array | None, eps: float, /
) -> tuple[_Array, _Array, _Array]: ...
def layer_norm_grad(
    grad: _Array,
    input: _Array,
    width: int,
    weight: _Array | None,
    mean: _Array,
    rstd: _Array,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def rms_norm(
    input: _Array, width: int, weight: _Array | None, eps: float, /
) -> tuple[_Array, _Array]: ...
def rms_norm_grad(
    grad: _Array, input: _Array, width: int, weight: _Array | None, rstd: _Array, /
) -> tuple[_Array, _Array]: ...

# Softmax over the last dimension; cross-entropy of (N, C) and int64 classes
def softmax(input: _Array, /) -> _Array: ...
def softmax_grad(grad: _Array, output: _Array, /) -> _Array: ...
def log_softmax(input: _Array, /) -> _Array: ...
def log_softmax_grad(grad: _Array, output: _Array, /) -> _Array: ...
def cross_entropy(
    input: _Array,
    target: _Array,
    weight: _Array | None,
    ignore_index: int,
    reduction: int,
    label_smoothing: float,
    /,
) -> tuple[_Array, _Array, float]: ...
def cross_entropy_grad(
    grad: _Array,
    input: _Array,
    target: _Array,
    lse: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    scale: float,
    /,
) -> _Array: ...

# Elementwise; gradients of relu, sigmoid, tanh take the output, the others the input
def relu(input: _Array, /) -> _Array: ...
def relu_grad(grad: _Array, output: _Array, /) -> _Array: ...
def sigmoid(input: _Array, /) -> _Array: ...
def sigmoid_grad(grad: _Array, output: _Array, /) -> _Array: ...
def tanh(input: _Array, /) -> _Array: ...
def tanh_grad(grad: _Array, output: _Array, /) -> _Array: ...
def silu(input: _Array, /) -> _Array: ...
def silu_grad(grad: _Array, input: _Array, /) -> _Array: ...
def gelu_erf(input: _Array, /) -> _Array: ...
def gelu_erf_grad(grad: _Array, input: _Array, /) -> _Array: ...
def gelu_tanh(input: _Array, /) -> _Array: ...
def gelu_tanh_grad(grad: _Array, input: _Array, /) -> _Array: ...
def dropout(input: _Array, mask: _Array, scale: float, /) -> _Array: ...
def embedding(weight: _Array, indices: _Array, /) -> _Array: ...
def embedding_grad(grad: _Array, indices: _Array, num_rows: int, padding_idx: int, /) -> _Array: ...

# Attention, (B, H, T, d); mask broadcast to (B, H, T, S), bool or additive
def attention(
    query: _Array,
    key: _Array,
    value: _Array,
    mask: _Array | None,
    dropout_mask: _Array | None,
    dropout_scale: float,
    is_causal: bool,
    scale: float,
    /,
) -> tuple[_Array, _Array]: ...
def attention_grad(
    grad: _Array,
    query: _Array,
    key: _Array,
    value: _Array,
    output: _Array,
    lse: _Array,
    mask: _Array | None,
    dropout_mask: _Array | None,
    dropout_scale: float,
    is_causal: bool,
    scale: float,
    /,
) -> tuple[_Array, _Array, _Array]: ...

# Recurrent layers, time major; gates come as the input's product plus biases
def lstm_layer(
    gates: _Array, weight_hh: _Array, h0: _Array, c0: _Array, reverse: bool, /
) -> tuple[_Array, _Array, _Array]: ...
def lstm_layer_grad(
    grad_output: _Array | None,
    grad_h: _Array | None,
    grad_c: _Array | None,
    gates: _Array,
    c: _Array,
    c0: _Array,
    weight_hh: _Array,
    reverse: bool,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def gru_layer(
    gates: _Array, weight_hh: _Array, bias_hh: _Array | None, h0: _Array, reverse: bool, /
) -> tuple[_Array, _Array]: ...
def gru_layer_grad(
    grad_output: _Array | None,
    grad_h: _Array | None,
    saved: _Array,
    h: _Array,
    h0: _Array,
    weight_hh: _Array,
    reverse: bool,
    /,
) -> tuple[_Array, _Array, _Array]: ...
