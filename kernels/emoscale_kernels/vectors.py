"""Vector instructions for Numba kernels, where a plain loop would not become the code it should be.

LLVM cuts the vectors named here to what the processor has: 512 bits with AVX-512, 256 with AVX2, 128 on others. They
are written out because LLVM's own vectoriser keeps sums and packed bits in memory instead of in registers.

Numba's cache does not notice a change in this file: delete ``__pycache__`` after one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8
"""Neurons side by side in `mean_distances`, words side by side in a tile of `count_discordant`."""

BLOCK = 32
"""Side of the square of comparisons that `pack_comparisons` packs."""

_INDEX = types.intp
_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()


def _rows(context: Any, builder: Any, kind: Any, array: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the row length of a two-dimensional array, and what finds a row's first element."""
    if kind.layout != "C":
        raise TypeError("rows must be contiguous")
    struct = context.make_array(kind)(context, builder, array)
    length = cgutils.unpack_tuple(builder, struct.shape)[1]
    return length, lambda row: builder.gep(struct.data, [builder.mul(row, length)])


def _vector_at(builder: Any, kind: Any, pointer: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [at]), kind.as_pointer())


def _repeat(builder: Any, kind: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _pack_comparisons(  # eight parameters: Numba hands an intrinsic its typing context and each argument by name
    _typing: Any, keys: Any, row: Any, first: Any, second: Any, lift: Any, words: Any, word: Any
) -> tuple[Any, Any]:
    """Pack a square of comparisons between the keys of one row.

    ``words[row, word + l]`` becomes the bits of ``keys[row, first + i] < keys[row, second + l] + lift`` for the 32 i,
    the first in the highest bit, for each of the 32 l.

    Notes
    -----
    The difference of two non-negative 32-bit integers below 2^31 has the outcome in its sign bit, which is shifted into
    an accumulator for each l: with AVX-512 one subtraction and one ``vpshldd`` for 16 comparisons, with AVX2 a
    subtraction, two shifts and an OR for 8.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, key_row = _rows(context, builder, signature.args[0], arguments[0])
        _, word_row = _rows(context, builder, signature.args[5], arguments[5])
        vector = ir.VectorType(_I32, BLOCK)
        at = key_row(arguments[1])
        seconds = builder.load(_vector_at(builder, vector, at, arguments[3]), align=4)
        seconds = builder.add(seconds, _repeat(builder, vector, arguments[4]))
        one = ir.Constant(vector, [1] * BLOCK)
        bits: Any = ir.Constant(vector, [0] * BLOCK)
        for i in range(BLOCK):
            key = builder.load(builder.gep(at, [builder.add(arguments[2], context.get_constant(_INDEX, i))]))
            difference = builder.sub(_repeat(builder, vector, key), seconds)
            bits = _call(builder, f"llvm.fshl.v{BLOCK}i32", vector, [bits, difference, one])
        builder.store(bits, _vector_at(builder, vector, word_row(arguments[1]), arguments[6]), align=4)
        return context.get_dummy_value()

    return types.void(keys, _INDEX, _INDEX, _INDEX, types.int32, words, _INDEX), emit


pack_comparisons: Any = intrinsic(_pack_comparisons)


def _count_discordant(neurons: int, patterns: int) -> Any:
    """Make the intrinsic that counts for a tile of neurons and patterns."""

    def tile(  # nine parameters: see `_pack_comparisons`
        _typing: Any, signs: Any, pattern_signs: Any, masks: Any, k: Any, a: Any, start: Any, stop: Any, out: Any
    ) -> tuple[Any, Any]:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def pointers(which: int, row: Any, count: int) -> list[Any]:
                _, find = _rows(context, builder, signature.args[which], arguments[which])
                return [find(builder.add(row, context.get_constant(_INDEX, i))) for i in range(count)]

            vector = ir.VectorType(_I64, LANES)
            k_at, a_at, start_at, stop_at = arguments[3:7]
            neuron_rows = pointers(0, k_at, neurons)
            pattern_rows, mask_rows = pointers(1, a_at, patterns), pointers(2, a_at, patterns)
            zero = ir.Constant(vector, [0] * LANES)
            # LLVM turns these into registers; the tile is as large as there are registers for.
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(patterns)] for _ in range(neurons)]
            step = context.get_constant(_INDEX, LANES)
            with cgutils.for_range_slice(builder, start_at, stop_at, step, inc=True) as (word, _):

                def load(row: Any) -> Any:
                    return builder.load(_vector_at(builder, vector, row, word), align=8)

                loaded = [load(row) for row in neuron_rows]
                for j in range(patterns):
                    pattern, mask = load(pattern_rows[j]), load(mask_rows[j])
                    for i in range(neurons):
                        discordant = builder.and_(builder.xor(loaded[i], pattern), mask)
                        counts = _call(builder, f"llvm.ctpop.v{LANES}i64", vector, [discordant])
                        builder.store(builder.add(builder.load(sums[i][j]), counts), sums[i][j])
            for i, row in enumerate(pointers(7, k_at, neurons)):
                for j in range(patterns):
                    at = builder.gep(row, [builder.add(a_at, context.get_constant(_INDEX, j))])
                    total = _call(builder, f"llvm.vector.reduce.add.v{LANES}i64", _I64, [builder.load(sums[i][j])])
                    builder.store(builder.add(builder.load(at), total), at)
            return context.get_dummy_value()

        arrays = (signs, pattern_signs, masks)
        return types.void(*arrays, _INDEX, _INDEX, _INDEX, _INDEX, out), emit

    tile.__doc__ = f"""Count discordant comparisons of {neurons} neurons with {patterns} patterns.

    Adds to ``out[k:k + {neurons}, a:a + {patterns}]`` the bits of ``(signs[k] ^ pattern_signs[a]) & masks[a]`` in words
    start to stop, whose number must be a multiple of 8.
    """
    return intrinsic(tile)


count_discordant_tile = _count_discordant(8, 2)
count_discordant_one = _count_discordant(1, 1)


def _mean_distances(pairs: int) -> Any:
    """Make the intrinsic that averages the distances of several pairs at once."""

    def some(_typing: Any, values: Any, i: Any, j: Any, out: Any, pair: Any) -> tuple[Any, Any]:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(_F64, LANES)
            struct = context.make_array(signature.args[0])(context, builder, arguments[0])
            replicates, concepts, _ = cgutils.unpack_tuple(builder, struct.shape)
            data = builder.bitcast(struct.data, vector.as_pointer())
            result = context.make_array(signature.args[3])(context, builder, arguments[3]).data
            result = builder.bitcast(result, vector.as_pointer())
            zero = ir.Constant(vector, [0.0] * LANES)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(pairs)]
            _, i_at, j_at, _, pair_at = arguments
            with cgutils.for_range(builder, replicates) as loop:
                row = builder.mul(loop.index, concepts)

                def load(concept: Any, further: int = 0) -> Any:
                    at = builder.add(builder.add(row, concept), context.get_constant(_INDEX, further))
                    return builder.load(builder.gep(data, [at]), align=8)

                first = load(i_at)
                for b in range(pairs):
                    distance = _call(builder, f"llvm.fabs.v{LANES}f64", vector, [builder.fsub(first, load(j_at, b))])
                    builder.store(builder.fadd(builder.load(sums[b]), distance), sums[b])
            divisor = _repeat(builder, vector, builder.sitofp(replicates, _F64))
            for b in range(pairs):
                at = builder.gep(result, [builder.add(pair_at, context.get_constant(_INDEX, b))])
                builder.store(builder.fdiv(builder.load(sums[b]), divisor), at, align=8)
            return context.get_dummy_value()

        return types.void(values, _INDEX, _INDEX, out, _INDEX), emit

    some.__doc__ = f"""Average the distances of {pairs} pairs over replicates, for 8 neurons side by side.

    ``out[pair + b]`` becomes the mean over r of ``|values[r, i] - values[r, j + b]|``, for b < {pairs}; `values` has
    shape (R, C, 8) and `out` (P, 8), both contiguous.
    """
    return intrinsic(some)


mean_distances_of_3 = _mean_distances(3)
mean_distances_of_1 = _mean_distances(1)
