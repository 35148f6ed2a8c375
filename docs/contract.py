"""The numerical contract a second time: docs/contract.md in whole numbers, without a float and without the library.

Slow, and the same bits. It knows the standard cell, layers, directions, projections, lengths, resets, and gradients;
`python -m tests.proofs.contract` recomputes with it what it can of tests/data/frozen_bits.txt.
"""

PIECE, BLOCK = 128, 96


class Real:
    """A sign and a size, which counts the smallest subnormal number. Infinity is a size, too; that of NaN is None."""

    def __init__(self, negative, size):
        self.negative, self.size = negative, size

    @classmethod
    def rounded(cls, negative, n, d):  # n/d smallest subnormals, to the nearest of so many bits, a tie to the even one
        unit = d << max(0, (n // d).bit_length() - cls.precision)
        whole, rest = divmod(n, unit)
        whole += 2 * rest > unit or (2 * rest == unit and whole % 2)
        return cls(negative, min(whole * (unit // d), cls.infinity))

    @classmethod
    def of(cls, n, d=1):
        return cls.rounded(n < 0, abs(n) * cls.one, d)

    @classmethod
    def hexadecimal(cls, text):
        digits, exponent = text.split("p")
        return cls.of(int(digits.replace(".", ""), 16), 1 << 4 * len(digits.partition(".")[2]) - int(exponent))

    def fma(a, b, c):  # a b + c, rounded once
        negative = a.negative != b.negative
        if None in (a.size, b.size, c.size):
            return type(a)(False, None)
        if a.infinity in (a.size, b.size):
            invalid = 0 in (a.size, b.size) or (c.size == a.infinity and c.negative != negative)
            return type(a)(negative, None if invalid else a.infinity)
        if c.size == a.infinity:
            return c
        product, term = a.size * b.size, c.size * a.one
        total = (-product if negative else product) + (-term if c.negative else term)
        return a.rounded(total < 0 if total else negative and c.negative, abs(total), a.one)

    def __mul__(a, b):  # to a zero of the product's own sign: it changes nothing
        return a.fma(b, type(a)(a.negative != b.negative, 0))

    def __add__(a, b):
        return a.fma(a.of(1), b)

    def __sub__(a, b):
        return a + -b

    def __neg__(a):
        return type(a)(not a.negative, a.size)

    def __truediv__(a, b):
        negative = a.negative != b.negative
        if None in (a.size, b.size) or (a.size == b.size and a.size in (0, a.infinity)):
            return type(a)(False, None)
        if b.size == 0 or a.size == a.infinity:
            return type(a)(negative, a.infinity)
        return type(a)(negative, 0) if b.size == a.infinity else a.rounded(negative, a.size * a.one, b.size)

    def __lt__(a, b):  # False where one is NaN
        first, second = (number.size and (-number.size if number.negative else number.size) for number in (a, b))
        return None not in (first, second) and first < second

    def bits(a):  # IEEE 754's; of every NaN the same
        size = a.infinity if a.size is None else a.size
        shift = max(0, size.bit_length() - a.precision)
        sign = 1 << a.precision - 2 if a.size is None else a.negative << a.width - 1
        return (shift << a.precision - 1) + (size >> shift) | sign

    @classmethod
    def from_bits(cls, bits):
        negative, bits = divmod(bits, 1 << cls.width - 1)
        shift = max(0, (bits >> cls.precision - 1) - 1)
        size = bits - (shift << cls.precision - 1) << shift
        return cls(bool(negative), size if size <= cls.infinity else None)


class Float32(Real):
    width, precision, one, infinity, bias = 32, 24, 1 << 149, 1 << 149 + 128, 127


class Float64(Real):
    width, precision, one, infinity, bias = 64, 53, 1 << 1074, 1 << 1074 + 1024, 1023


for real, log2e, ln2_high, ln2_low, low, high, tanh_high, expm1 in (
    (Float32, "1.715476p0", "1.62e4p-1", "1.7f7d1cp-20", (-879, 10), 40, (1804, 100),
     "1p-1 1.55548ep-3 1.5554d8p-5 1.123c06p-7 1.6d5f54p-10"),
    (Float64, "1.71547652b82fep0", "1.62e42fefap-1", "1.cf79abc9e3b3ap-40", (-709, 1), 80, (40, 1),
     "1.000000000000bp-1 1.5555555555561p-3 1.555555555022ap-5 1.111111110d645p-7 1.6c16c1854fab1p-10"
     " 1.a01a01baddc1cp-13 1.a019975abf92p-16 1.71dddfd6d5fd7p-19 1.28afa9b2cf47dp-22 1.af85756412bc3p-26"),
):  # fmt: skip
    real.zero, real.unit, real.rounder = real.of(0), real.of(1), real.of((3 << real.precision - 2) + real.bias)
    real.log2e, real.ln2_high, real.ln2_low = map(real.hexadecimal, (log2e, ln2_high, ln2_low))
    real.expm1 = [real.hexadecimal(text) for text in expm1.split()]
    real.low, real.high, real.tanh_high = real.of(*low), real.of(high), real.of(*tanh_high)


def exponential(x, sign):  # 2^n and q, where sign x = sign (n ln 2 - r) and q = e^(sign r) - 1
    n = x.fma(x.log2e, x.rounder) - x.rounder
    r = n.fma(x.ln2_low, n.fma(x.ln2_high, -x))
    r, p = r if sign > 0 else -r, x.expm1[-1]
    for term in x.expm1[-2::-1]:
        p = p.fma(r, term)
    if n.size is None:
        return n, n
    power = x.one << n.size // x.one if not n.negative else x.one >> n.size // x.one
    return type(x)(False, 0 if n.negative and n.size == x.bias * x.one else power), p.fma(r * r, r)


def sigmoid(x):  # numerator and denominator
    x = x.low if x < x.low else x.high if x.high < x else x
    s, q = exponential(x, 1)
    s1 = s + x.unit
    return s, s1 + (q + (s - (s1 - x.unit)))


def tanh(x):
    twice = type(x)(False, (x + x).size)
    s, q = exponential(-(x.tanh_high if x.tanh_high < twice else twice), -1)
    return type(x)(x.negative, (-s).fma(q, x.unit - s).size), s.fma(q, s + x.unit)


def cell(z, c):  # of one unit: h, c, and the gates i, f, g, o
    (n_i, d_i), (n_f, d_f), (n_g, d_g), (n_o, d_o) = sigmoid(z[0]), sigmoid(z[1]), tanh(z[2]), sigmoid(z[3])
    c = (n_f / d_f).fma(c, (n_i * n_g) / (d_i * d_g))
    n_c, d_c = tanh(c)
    return (n_o * n_c) / (d_o * d_c), c, (n_i / d_i, n_f / d_f, n_g / d_g, n_o / d_o)


def cell_gradient(gates, c_before, c, dh, dc):  # dz of i, f, g, o, dc of the step before, and h as its projection's
    (i, f, g, o), y, one = gates, tanh(c)[0] / tanh(c)[1], c.unit  # gradient takes it
    dc = (dh * o).fma((-y).fma(y, one), dc)
    dz_i, dz_f = dc * g * i * (one - i), dc * c_before * f * (one - f)
    return (dz_i, dz_f, dc * i * (-g).fma(g, one), dh * y * o * (one - o)), dc * f, o * y


def pieces(start, terms, length=None):  # and chains from zero of so many products each, one after the other
    terms, length = list(terms), length or PIECE
    for j in range(0, len(terms), length):
        piece = start.zero
        for a, b in terms[j : j + length]:
            piece = a.fma(b, piece)
        start = start + piece
    return start


class Layer:
    """The weights [4H][...], gates i, f, g, o, and biases [4H] of a layer in one direction; its projection [P][H]."""

    def __init__(self, w, u, b_ih=None, b_hh=None, project=None):
        self.w, self.u, self.project, self.H, zero = w, u, project, len(w) // 4, w[0][0].zero
        self.bias = [(a + b) + zero for a, b in zip(b_ih, b_hh, strict=True)] if b_ih else [zero] * len(w)


def forward(layer, inputs, h, c):  # of one sequence, in one layer; inputs: x, and whether it begins from a zero state
    zero, steps = c[0].zero, []
    for x, reset in inputs:
        h, c = ([zero] * len(h), [zero] * len(c)) if reset else (h, c)
        rows = zip(layer.bias, layer.w, layer.u, strict=True)
        z = [pieces(b, zip(w, x, strict=True)) + pieces(zero, zip(u, h, strict=True)) for b, w, u in rows]
        m, made, gates = zip(*(cell(z[j :: layer.H], c[j]) for j in range(layer.H)), strict=True)
        y = [pieces(zero, zip(row, m, strict=True)) for row in layer.project] if layer.project else m
        steps.append((x, h, c, made, gates, reset, y))
        h, c = y, made
    return steps, h, c


def backward(layer, steps, dy, dh, dc):  # gradients of the state before and of inputs; and for `weight_gradients`
    zero, cut, dz, kept, H = dc[0].zero, False, None, [], layer.H
    order = [k * H + j for panel in range(0, H, 8) for k in range(4) for j in range(panel, min(panel + 8, H))]

    def back(start, matrix):  # start + dz times the matrix
        return [pieces(a, ((dz[k], matrix[k][j]) for k in order)) for j, a in enumerate(start)]

    for (x, h, c, made, gates, reset, _), dy_s in zip(steps[::-1], dy[::-1], strict=True):
        dh = dy_s if cut else back(dy_s, layer.u) if dz else [a + b for a, b in zip(dy_s, dh, strict=True)]
        columns = layer.project and zip(*layer.project, strict=True)
        dm = [pieces(zero, zip(dh, column, strict=True)) for column in columns] if columns else dh
        dz, dc, m = zip(*map(cell_gradient, gates, c, made, dm, [zero] * H if cut else dc), strict=True)
        dz, cut = [of_unit[k] for k in range(4) for of_unit in dz], reset
        kept.insert(0, (back([zero] * len(x), layer.w), ((dz, x), (dz, h), (dz, [zero.unit]), (dh, m))))
    dh = [zero] * len(dh) if cut else back([zero] * len(dh), layer.u) if dz else dh
    return dh, [zero] * H if cut else dc, kept


def weight_gradients(pairs):  # of all sequences and steps: step by step, in each the longest sequence first
    def total(which, j, i):
        return pieces(pairs[0][0][0][0].zero, [(of[which][0][j], of[which][1][i]) for of in pairs], BLOCK)

    shapes = [(len(a), len(b)) for a, b in pairs[0]]
    return [[[total(w, j, i) for i in range(n)] for j in range(m)] for w, (m, n) in enumerate(shapes)]
