"""Wrong shapes, sizes, dimensions and indices."""

import pytest
from misuse_table import Table, check, compare

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError


# ---- one shape against another ------------------------------------------------------------------
T.expr("matmul", R, lambda t: t.ones(2, 3) @ t.ones(4, 5), "2x3 and 4x5")
T.expr("mm of a vector", R, lambda t: t.mm(t.ones(3), t.ones(3, 3)), "matri", "1-D")
T.expr("mv", R, lambda t: t.mv(t.ones(2, 3), t.ones(4)), "3", "4")
T.expr("dot", R, lambda t: t.dot(t.ones(3), t.ones(4)), "3", "4")
T.expr("bmm", R, lambda t: t.bmm(t.ones(2, 3, 4), t.ones(2, 5, 6)), "4", "5")
T.expr("bmm batches", R, lambda t: t.bmm(t.ones(2, 3, 4), t.ones(3, 4, 6)), "2", "3")
T.expr("batched matmul", R, lambda t: t.ones(2, 3, 4) @ t.ones(3, 4, 5), "2", "3")
T.expr("addmm", R, lambda t: t.addmm(t.ones(7), t.ones(2, 3), t.ones(3, 4)), "7", "4")
T.expr("add", R, lambda t: t.ones(2, 3) + t.ones(4), "(3)", "(4)", "dimension 1")
T.expr("where", R, lambda t: t.where(t.ones(3) > 0, t.ones(2), t.ones(3)), "3", "2")
T.expr("add in place", R, lambda t: t.ones(3).add_(t.ones(2, 3)), "[3]", "[2, 3]")
T.expr("copy_", R, lambda t: t.ones(3).copy_(t.ones(4)), "3", "4")
T.expr("cat", R, lambda t: t.cat([t.ones(2, 3), t.ones(2, 4)]), "3", "4")
T.expr("cat of ranks", R, lambda t: t.cat([t.ones(2, 3), t.ones(2)]), "2", "1")
T.expr("cat of nothing", (R, V), lambda t: t.cat([]), "non-empty")
T.expr("stack", R, lambda t: t.stack([t.ones(2), t.ones(3)]), "[2]", "[3]")
T.expr("broadcast_to", R, lambda t: t.ones(3).broadcast_to(2, 4), "4", "3")
T.expr("cross", R, lambda t: t.linalg.cross(t.ones(2), t.ones(2)), "3", "2")

# ---- a new shape ---------------------------------------------------------------------------------
T.expr("view", R, lambda t: t.ones(2, 3).view(4), "[4]", "6")
T.expr("view of a transpose", R, lambda t: t.ones(2, 3).t().view(6), "stride", "reshape")
T.expr("reshape", R, lambda t: t.ones(2, 3).reshape(4, 2), "[4, 2]", "6")
T.expr("two inferred", R, lambda t: t.ones(6).view(-1, -1), "one dimension")
T.expr("expand", R, lambda t: t.ones(2, 3).expand(2, 4), "(4)", "(3)", "dimension 1")
T.expr("expand to fewer", R, lambda t: t.ones(2, 3).expand(3), "1", "2")
T.expr("unflatten", R, lambda t: t.ones(6).unflatten(0, (4, 2)), "4", "6")
T.expr("flatten", R, lambda t: t.ones(2, 3).flatten(1, 0), "start_dim")
T.expr("permute", R, lambda t: t.ones(2, 3).permute(0), "2", "1")
T.expr("permute twice", R, lambda t: t.ones(2, 3).permute(0, 0), "dim")
T.expr("repeat", R, lambda t: t.ones(2, 3).repeat(2), "dim")
T.expr("negative size", R, lambda t: t.ones(2, -3), "-3")
T.expr("ragged list", V, lambda t: t.tensor([[1, 2], [3]]), "2", "1")
T.expr("t of a cube", R, lambda t: t.ones(2, 2, 2).t(), "2", "3D")
T.expr("diag", R, lambda t: t.diag(t.ones(2, 2, 2)), "1D or 2D")
T.expr("split sizes", R, lambda t: t.ones(5).split([2, 2]), "5", "[2, 2]")
T.expr("split of zero", R, lambda t: t.ones(5).split(0), "0")
T.expr("chunks", R, lambda t: t.ones(5).chunk(0), "0")
T.expr("narrow", (R, IX), lambda t: t.ones(5).narrow(0, 3, 4), "3", "4", "5")
T.expr("unfold", R, lambda t: t.ones(5).unfold(0, 6, 1), "6", "5")
T.expr("item", R, lambda t: t.ones(2).item(), "2 elements")
T.expr("truth", R, lambda t: bool(t.ones(2)), "ambiguous")
T.expr("iterate a number", TY, lambda t: list(t.tensor(1.0)), "0-d")
T.expr("len of a number", TY, lambda t: len(t.tensor(1.0)), "0-d")

# ---- dimensions ------------------------------------------------------------------------------------
T.expr("sum dim", IX, lambda t: t.ones(2, 3).sum(2), "[-2, 1]", "2")
T.expr("softmax dim", IX, lambda t: t.softmax(t.ones(2), -2), "[-1, 0]", "-2")
T.expr("transpose dim", IX, lambda t: t.ones(2, 3).transpose(0, 3), "[-2, 1]", "3")
T.expr("unsqueeze dim", IX, lambda t: t.ones(2).unsqueeze(3), "[-2, 1]", "3")
T.expr("cat dim", IX, lambda t: t.cat([t.ones(2), t.ones(2)], 1), "[-1, 0]", "1")
T.expr("stack dim", IX, lambda t: t.stack([t.ones(2), t.ones(2)], 4), "[-2, 1]", "4")
T.expr("same dim twice", R, lambda t: t.ones(2, 3).sum((0, 0)), "dim 0")
T.expr("max of nothing", (R, IX), lambda t: t.ones(0).max(), "numel() == 0")
T.expr("argmax of nothing", IX, lambda t: t.ones(0).argmax(0), "dim 0", "non-zero")
T.expr("topk", R, lambda t: t.ones(3).topk(4), "k")
T.expr("kthvalue", R, lambda t: t.ones(3).kthvalue(4), "k")
T.expr("sort dim", IX, lambda t: t.ones(3).sort(dim=1), "[-1, 0]", "1")

# ---- indices ---------------------------------------------------------------------------------------
T.expr("index", IX, lambda t: t.ones(3)[3], "3", "size 3")
T.expr("too many indices", IX, lambda t: t.ones(3)[0, 0], "1")
T.expr("index tensor", IX, lambda t: t.ones(3)[t.tensor([0, 5])], "5", "size 3")
T.expr("float index", IX, lambda t: t.ones(3)[t.tensor([0.5])], "long", "float32")
T.expr("mask", IX, lambda t: t.ones(3)[t.ones(4) > 0], "[4]", "[3]")
T.expr("indices of two sizes", IX, lambda t: t.ones(3, 3)[[0, 1], [0, 1, 2]], "2", "3", "broadcast")
T.expr("negative step", V, lambda t: t.ones(3)[::-1], "step", "-1")
T.expr("index_select", (R, IX), lambda t: t.ones(3).index_select(0, t.tensor([3])), "0 to 2", "3")
T.expr(
    "index_select by floats", R, lambda t: t.ones(3).index_select(0, t.ones(1)), "int64", "float32"
)
T.expr("gather", R, lambda t: t.ones(3).gather(0, t.tensor([3])), "3", "out of bounds")
T.expr("gather ranks", R, lambda t: t.ones(3).gather(0, t.tensor([[0]])), "same number of dim")
T.expr("gather by floats", R, lambda t: t.ones(3).gather(0, t.ones(1)), "int64", "float32")
T.expr(
    "scatter",
    R,
    lambda t: t.zeros(3).scatter(0, t.tensor([7]), t.ones(1)),
    "7",
    "out of bounds",
)
T.expr(
    "scatter of dtypes",
    R,
    lambda t: t.zeros(3).scatter(0, t.tensor([0]), t.ones(1, dtype=t.float64)),
    "dtype",
)
T.expr("index_add", (R, IX), lambda t: t.zeros(3).index_add(0, t.tensor([0]), t.ones(2)), "3", "2")
T.expr("masked_fill", R, lambda t: t.ones(3).masked_fill(t.ones(4) > 0, 0.0), "3", "4")
T.expr("masked_fill by ints", R, lambda t: t.ones(3).masked_fill(t.ones(3).int(), 0.0), "bool")


@T.case(R, "(2)", "(3)")
def assign_a_wrong_shape(t):
    t.zeros(4)[:2] = t.ones(3)


@T.case(IX, "size 3")
def assign_out_of_range(t):
    t.zeros(3)[5] = 1.0


# ---- einsum ----------------------------------------------------------------------------------------
T.expr("einsum sizes", R, lambda t: t.einsum("ij,jk->ik", t.ones(2, 3), t.ones(4, 5)), "3", "4")
T.expr("einsum rank", R, lambda t: t.einsum("ijk->i", t.ones(2, 3)), "3", "2")
T.expr("einsum output", R, lambda t: t.einsum("ij->k", t.ones(2, 3)), "k")
T.expr("einsum operands", R, lambda t: t.einsum("ij,jk->ik", t.ones(2, 3)), "operand")
T.expr("einsum letter", R, lambda t: t.einsum("i1->i", t.ones(2, 3)), "1")

# ---- linear algebra --------------------------------------------------------------------------------
T.expr("inverse", R, lambda t: t.linalg.inv(t.ones(2, 3)), "square", "2 by 3")
T.expr("singular", R, lambda t: t.linalg.inv(t.zeros(2, 2)), "singular")
T.expr("cholesky", R, lambda t: t.linalg.cholesky(-t.eye(2)), "positive-definite")
T.expr("solve", R, lambda t: t.linalg.solve(t.eye(3), t.ones(2, 2)), "3", "2")


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
