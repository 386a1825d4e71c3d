"""Optimizer: parameter groups, state, state_dict, hooks. The arithmetic lives in `elementwise`."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from ..autograd import enable_grad
from ..autograd.hooks import RemovableHandle
from ..dtypes import of
from ..tensor import Tensor

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Closure: TypeAlias = Callable[[], Any] | None
StateDict: TypeAlias = dict[str, Any]

_global_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()


class _Required:
    """Marks a default that every parameter group must give a value for."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every step of every optimizer."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every step of every optimizer."""
    return _register(_global_post_hooks, hook)


def _register(
    hooks: OrderedDict[int, Callable[..., Any]], hook: Callable[..., Any], prepend: bool = False
) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def typename(x: object) -> str:
    """How PyTorch names the type of an object in messages."""
    kind: Any = type(x)
    if isinstance(x, Tensor):
        return str(kind.type(x))
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that runs the hooks around itself; one check when there are none."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        if (
            not (
                self._step_pre_hooks
                or self._step_post_hooks
                or _global_pre_hooks
                or _global_post_hooks
            )
            or self._stepping
        ):
            return step(self, *args, **kwargs)
        for hook in chain(_global_pre_hooks.values(), self._step_pre_hooks.values()):
            result = hook(self, args, kwargs)
            if result is None:
                continue
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    f"{wrapper.__qualname__} must return None or a tuple of (new_args, "
                    "new_kwargs), "
                    f"but got {result}."
                )
            args, kwargs = result
        self._stepping = True  # a step that calls its base class's step runs the hooks once
        try:
            out = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        for hook in chain(self._step_post_hooks.values(), _global_post_hooks.values()):
            hook(self, args, kwargs)
        return out

    return wrapper


class Optimizer:
    """Base of all optimizers; a subclass gives its defaults and writes `step`.

    ``params`` are Tensors, (name, Tensor) pairs, or dictionaries of a group's options with the key
    ``params``; TypeError or ValueError for anything else.
    """

    defaults: dict[str, Any]
    state: defaultdict[Any, Any]
    param_groups: list[dict[str, Any]]
    _stepping = False
    _opt_called = False  # a scheduler warns if it is stepped before its optimizer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if callable(step):
            type.__setattr__(cls, "step", _with_hooks(step))

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._init_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                "dicts, but got " + typename(params)
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _init_hooks(self) -> None:
        self._step_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._state_dict_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._load_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._load_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()

    # -- pickling, printing
    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_step_pre_hooks" not in self.__dict__:
            self._init_hooks()
        for group in self.param_groups:  # options that an older checkpoint does not know
            for name, value in self.defaults.items():
                if value is not required:
                    group.setdefault(name, value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # -- hooks
    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before a step; it may return both anew."""
        return _register(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return _register(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` before `state_dict`."""
        return _register(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after `state_dict`; it may return another one."""
        return _register(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; it may return another dictionary."""
        return _register(self._load_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` after loading."""
        return _register(self._load_post_hooks, hook, prepend)

    # -- state_dict
    def state_dict(self) -> StateDict:
        """``{"state": {index: ...}, "param_groups": [...]}``; the Tensors are those in use."""
        for hook in self._state_dict_pre_hooks.values():
            hook(self)
        index: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for p in group["params"]:
                index.setdefault(id(p), len(index))
            packed["params"] = [index[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {(index[id(k)] if isinstance(k, Tensor) else k): v for k, v in self.state.items()}
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state dictionary; ValueError unless groups and their sizes agree.

        Floating-point state takes the dtype and device of its parameter, ``step`` stays as it is.
        """
        state_dict = state_dict.copy()
        for hook in self._load_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for group, packed in zip(groups, saved, strict=True):
            if len(group["params"]) != len(packed["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    "optimizer's group"
                )
        params = dict(
            zip(
                chain.from_iterable(g["params"] for g in saved),
                chain.from_iterable(g["params"] for g in groups),
                strict=True,
            )
        )
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                state[params[key]] = self._cast(params[key], value, key, saved)
            else:
                state[key] = value
        for group, packed in zip(groups, saved, strict=True):
            packed["params"] = group["params"]
            if "param_names" in group and "param_names" not in packed:
                packed["param_names"] = group["param_names"]
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._load_post_hooks.values():
            hook(self)

    def _cast(
        self,
        param: Tensor,
        value: Any,
        index: Any,
        groups: list[dict[str, Any]],
        key: Hashable = None,
    ) -> Any:
        if isinstance(value, Tensor):
            return self._process_value_according_to_param_policy(param, value, index, groups, key)
        if isinstance(value, dict):
            return {k: self._cast(param, v, index, groups, k) for k, v in value.items()}
        if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            kind: Any = type(value)
            return kind(self._cast(param, v, index, groups) for v in value)
        return value

    @staticmethod
    def _process_value_according_to_param_policy(
        param: Tensor,
        value: Any,
        param_id: int,
        param_groups: list[dict[str, Any]],
        key: Hashable = None,
    ) -> Any:
        """Where and in which dtype a loaded state Tensor is kept."""
        group: dict[str, Any] = next((g for g in param_groups if param_id in g["params"]), {})
        on_device = bool(group.get("capturable") or group.get("fused"))
        moved = value
        if key == "step":
            if on_device and (value.device != param.device or value.dtype != of("f4")):
                moved = value.to(dtype=of("f4"), device=param.device)
        elif param.is_floating_point():
            if value.dtype != param.dtype or value.device != param.device:
                moved = value.to(dtype=param.dtype, device=param.device)
        elif value.device != param.device:
            moved = value.to(device=param.device)
        return moved

    # -- work
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad = p.grad.detach()
                    else:
                        p.grad.requires_grad_(False)
                    p.grad.zero_()

    if TYPE_CHECKING:
        step: Callable[..., Any]  # LBFGS requires the closure
    else:

        def step(self, closure: Closure = None) -> Any:
            """Update the parameters once; ``closure`` computes the loss anew, with gradients on."""
            raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; ValueError if one is optimized already."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of "
                "tensors in sets will change between runs. Please use a list instead."
            )
        params = self._named(param_group, list(params))
        param_group["params"] = params
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {typename(p)}"
                )
            if not (
                self.defaults.get("differentiable")
                or p.is_leaf
                or getattr(p, "retains_grad", False)
            ):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            param_group.setdefault(name, default)
        if len(params) != len(set(map(id, params))):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this "
                "will cause "
                "an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if not known.isdisjoint(map(id, params)):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _named(self, param_group: dict[str, Any], params: list[Any]) -> list[Any]:
        """Split (name, Tensor) pairs into the group's ``param_names`` and the Tensors."""
        named = [isinstance(p, tuple) for p in params]
        if any(named) and not all(named):
            raise ValueError(
                "all optimizer params should be with/without names. Some param names are missing"
            )
        if self.param_groups:
            before, now = "param_names" in self.param_groups[0], any(named)
            if before != now:
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param "
                    "group "
                    f"{'with' if now else 'without'} names to the optimizer"
                )
        if not any(named):
            return params
        param_group["param_names"] = [name for name, _ in params]
        return [p for _, p in params]


def run_closure(closure: Closure) -> Any:
    """The loss of a closure, computed with gradients on; None without a closure."""
    if closure is None:
        return None
    with enable_grad():
        return closure()


def number(x: Any) -> Any:
    """A Python number of an option that may be a Tensor of one element."""
    return x.item() if isinstance(x, Tensor) else x


def check_lr(lr: Any, text: str = "Invalid learning rate: ") -> None:
    """ValueError unless a learning rate is one number, not negative."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not lr >= 0.0:
        raise ValueError(f"{text}{lr}")


def check_not_negative(**values: Any) -> None:
    """ValueError naming the first option that is negative."""
    names = {"eps": "epsilon value", "weight_decay": "weight_decay value"}
    for name, value in values.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {names.get(name, name + ' value')}: {value}")


def check_betas(betas: Any) -> None:
    """ValueError unless both averaging coefficients lie in [0, 1)."""
    for i in (0, 1):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")


def check_implementation(foreach: bool | None, fused: bool | None, differentiable: bool) -> None:
    """RuntimeError for options that exclude one another; there is one implementation behind all."""
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_capturable(groups: list[dict[str, Any]], what: str = "params and state_steps") -> None:
    """AssertionError if ``capturable`` is asked for where there are no graphs to capture into."""
    for group in groups:
        if group.get("capturable") and any(
            p.grad is not None and not p.is_cuda for p in group["params"]
        ):
            raise AssertionError(
                f"If capturable=True, {what} must be on supported devices: ['cuda', 'xpu', 'hpu', "
                "'privateuseone', 'xla']."
            )


__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
]
