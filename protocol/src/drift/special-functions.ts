/**
 * The special functions that the drift tests need, to about 1e-13. There is no good small library for them.
 * lgamma: Stirling's series after shifting the argument up (Abramowitz & Stegun 6.1.41). Incomplete gamma: power
 * series below a + 1, Lentz's continued fraction above (A&S 6.5.29, 6.5.31). Incomplete beta: Lentz (A&S 26.5.8).
 */
const STIRLING = [
  1 / 12,
  -1 / 360,
  1 / 1260,
  -1 / 1680,
  1 / 1188,
  -691 / 360360,
  1 / 156,
  -3617 / 122400,
] as const;
const SHIFT = 16;
const MAX_TERMS = 20_000;
const TINY = 1e-300;
const EPSILON = 1e-16;

/** ln Γ(x), x > 0. */
export function lgamma(x: number): number {
  let product = 1;
  let shifted = x;
  while (shifted < SHIFT) product *= shifted++;
  const inverse = 1 / shifted;
  const series = STIRLING.reduceRight((sum, c) => sum * inverse * inverse + c, 0) * inverse;
  return (
    (shifted - 0.5) * Math.log(shifted) - shifted + 0.5 * Math.log(2 * Math.PI) + series - Math.log(product)
  );
}

function gammaSeries(a: number, x: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < MAX_TERMS && Math.abs(term) > Math.abs(sum) * EPSILON; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return sum * Math.exp(a * Math.log(x) - x - lgamma(a));
}

function gammaFraction(a: number, x: number): number {
  let b = x + 1 - a;
  let c = 1 / TINY;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < MAX_TERMS; n++) {
    const an = -n * (n - a);
    b += 2;
    d = 1 / nonZero(an * d + b);
    c = nonZero(b + an / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < EPSILON) break;
  }
  return h * Math.exp(a * Math.log(x) - x - lgamma(a));
}
const nonZero = (value: number): number => (Math.abs(value) < TINY ? TINY : value);

/** Regularised upper incomplete gamma Q(a, x) = Γ(a, x) / Γ(a); a > 0, x ≥ 0. */
export function gammaQ(a: number, x: number): number {
  if (!(x > 0)) return 1;
  if (x === Number.POSITIVE_INFINITY) return 0;
  return x < a + 1 ? 1 - gammaSeries(a, x) : gammaFraction(a, x);
}

/** P(χ²_ν ≥ x) for any real ν > 0. */
export const chiSquaredTail = (x: number, nu: number): number => gammaQ(nu / 2, x / 2);

/** Φ(x), accurate in the lower tail as well. */
export function normalCdf(x: number): number {
  const tail = gammaQ(0.5, (x * x) / 2) / 2;
  return x > 0 ? 1 - tail : tail;
}

const normalDensity = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** Φ⁻¹(p), 0 < p < 1: a crude start (A&S 26.2.23), then Halley's steps on Φ. */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1))
    return p === 0 ? Number.NEGATIVE_INFINITY : p === 1 ? Number.POSITIVE_INFINITY : Number.NaN;
  if (p > 0.5) return -normalQuantile(1 - p);
  const t = Math.sqrt(-2 * Math.log(p));
  let x =
    ((0.010328 * t + 0.802853) * t + 2.515517) / (((0.001308 * t + 0.189269) * t + 1.432788) * t + 1) - t;
  for (let step = 0; step < 4; step++) {
    const error = (normalCdf(x) - p) / normalDensity(x);
    x -= error / (1 + (x * error) / 2);
  }
  return x;
}

function betaFraction(a: number, b: number, x: number): number {
  let c = 1;
  let d = 1 / nonZero(1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m < MAX_TERMS; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / nonZero(1 + even * d);
    c = nonZero(1 + even / c);
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / nonZero(1 + odd * d);
    c = nonZero(1 + odd / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < EPSILON) break;
  }
  return h;
}

/** Regularised incomplete beta I_x(a, b). `y` is 1 − x, given apart so that neither end loses digits. */
function betaI(a: number, b: number, x: number, y: number): number {
  if (x <= 0) return 0;
  if (y <= 0) return 1;
  const front = Math.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * Math.log(x) + b * Math.log(y));
  return x < (a + 1) / (a + b + 2)
    ? (front * betaFraction(a, b, x)) / a
    : 1 - (front * betaFraction(b, a, y)) / b;
}

/** P(|t_df| ≥ |t|): the two-sided p-value of Student's t. */
export function studentTail(t: number, df: number): number {
  const square = t * t;
  return betaI(df / 2, 0.5, df / (df + square), square / (df + square));
}

/** The t with P(t_df ≤ t) = p, 0 < p < 1, by bisection on the tail. */
export function studentQuantile(p: number, df: number): number {
  if (p < 0.5) return -studentQuantile(1 - p, df);
  if (p === 0.5) return 0;
  const twoSided = 2 * (1 - p);
  let low = 0;
  let high = 1;
  while (studentTail(high, df) > twoSided && high < 1e300) high *= 2;
  for (let step = 0; step < 200 && high - low > 1e-15 * high; step++) {
    const middle = (low + high) / 2;
    if (studentTail(middle, df) > twoSided) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
