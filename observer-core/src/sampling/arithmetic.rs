//! What the samplers in use compute: a trace id and a ratio come in, the decision goes out, bit for bit as each SDK and each
//! collector processor decides. No two families agree on an id better than chance, so which one runs is seen from outside.
//!
//! `hi` and `lo` are the first and the last eight bytes of the trace id, big-endian.

use std::fmt;

use crate::ids::TraceId;

/// A sampler by ratio, as one SDK implements it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SdkSampler {
    /// Go since 1.12.0, and Rust.
    Go,
    /// Go up to 1.11.
    GoOld,
    /// Python.
    Python,
    /// Ruby.
    Ruby,
    /// Java.
    Java,
    /// Erlang and Elixir.
    Erlang,
    /// The clients of Jaeger.
    Jaeger,
    /// JavaScript before 2.10.0.
    JsOld,
    /// JavaScript since 2.10.0.
    Js,
    /// PHP since May 2025.
    Php,
    /// PHP before May 2025.
    PhpOld,
    /// C++ since 1.23.0.
    Cpp,
    /// C++ up to 1.22 on a little-endian processor.
    CppOld,
    /// .NET since 1.15.1.
    DotNet,
    /// .NET up to 1.15.0.
    DotNetOld,
    /// Datadog.
    Datadog,
    /// The composite samplers by consistent probability, with full precision.
    Composite,
}

/// Samplers that agree on nearly every id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `lo`.
    Low64,
    /// The lower 63 bits of `lo`.
    Low63,
    /// The lower 60 bits of `lo`.
    Low60,
    /// The absolute value of `lo` as a signed number.
    AbsLow,
    /// The four words of 32 bits, by exclusive or.
    Xor32,
    /// `hi`.
    High64,
    /// `hi`, read in little-endian order.
    High64Le,
    /// The lower 63 bits of `hi`.
    High63,
    /// The absolute value of `hi` as a signed number.
    AbsHigh,
    /// The lower 56 bits of `lo` from a threshold up (OpenTelemetry, consistent probability sampling).
    Cons56,
    /// `lo` times a large prime.
    Knuth,
    /// The FNV-1a hash of 32 bits, of which 14 count.
    Fnv32,
    /// The FNV-1a hash of 64 bits.
    Fnv64,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 13] = [
        Self::Low64,
        Self::Low63,
        Self::Low60,
        Self::AbsLow,
        Self::Xor32,
        Self::High64,
        Self::High64Le,
        Self::High63,
        Self::AbsHigh,
        Self::Cons56,
        Self::Knuth,
        Self::Fnv32,
        Self::Fnv64,
    ];

    /// Where a trace lies between 0 and 2^64: sampled at a ratio where that is below `ratio * 2^64`, but for the rounding of each SDK.
    /// Collectors count with the seed and the salt that they have unless told otherwise.
    pub fn position(self, trace: TraceId) -> u64 {
        let (hi, lo) = halves(trace);
        match self {
            Self::Low64 => lo,
            Self::Low63 => lo << 1,
            Self::Low60 => lo << 4,
            Self::AbsLow => lo.cast_signed().unsigned_abs().saturating_mul(2),
            Self::Xor32 => u64::from(folded(trace)) << 32,
            Self::High64 => hi,
            Self::High64Le => hi.swap_bytes(),
            Self::High63 => hi << 1,
            Self::AbsHigh => hi.cast_signed().unsigned_abs().saturating_mul(2),
            Self::Cons56 => !randomness(trace) << 8,
            Self::Knuth => lo.wrapping_mul(KNUTH_FACTOR),
            Self::Fnv32 => u64::from(seeded_hash(trace, 0)) << 50,
            Self::Fnv64 => salted_hash(trace, TAIL_SALT),
        }
    }

    /// Whose samplers belong to it, for people.
    pub fn makers(self) -> &'static str {
        match self {
            Self::Low64 => "Go, Rust, Python or Ruby",
            Self::Low63 => "Erlang or a Jaeger client",
            Self::Low60 => "PHP before May 2025",
            Self::AbsLow => "Java",
            Self::Xor32 => "JavaScript",
            Self::High64 => "C++ or Go before 1.12",
            Self::High64Le => "C++ before 1.23",
            Self::High63 => ".NET",
            Self::AbsHigh => ".NET before 1.15.1",
            Self::Cons56 => "PHP or consistent probability sampling",
            Self::Knuth => "Datadog",
            Self::Fnv32 => "a collector by hash_seed",
            Self::Fnv64 => "a collector's tail sampling",
        }
    }

    /// The word of the audit's `threshold.family`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low64 => "LOW64",
            Self::Low63 => "LOW63",
            Self::Low60 => "LOW60",
            Self::AbsLow => "ABSLOW",
            Self::Xor32 => "XOR32",
            Self::High64 => "HIGH64",
            Self::High64Le => "HIGH64-LE",
            Self::High63 => "HIGH63",
            Self::AbsHigh => "ABSHIGH",
            Self::Cons56 => "CONS56",
            Self::Knuth => "KNUTH",
            Self::Fnv32 => "FNV32",
            Self::Fnv64 => "FNV64",
        }
    }
}

const TWO_32: f64 = 4_294_967_296.0;
const TWO_60: f64 = 1_152_921_504_606_846_976.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;
const LOW_63: u64 = u64::MAX >> 1;
/// Knuth's factor in Datadog's clients.
const KNUTH_FACTOR: u64 = 1_111_111_111_111_111_111;

impl SdkSampler {
    /// The family that it belongs to.
    pub fn family(self) -> Family {
        match self {
            Self::Go | Self::Python | Self::Ruby => Family::Low64,
            Self::GoOld | Self::Cpp => Family::High64,
            Self::Java => Family::AbsLow,
            Self::Erlang | Self::Jaeger => Family::Low63,
            Self::JsOld | Self::Js => Family::Xor32,
            Self::Php | Self::Composite => Family::Cons56,
            Self::PhpOld => Family::Low60,
            Self::CppOld => Family::High64Le,
            Self::DotNet => Family::High63,
            Self::DotNetOld => Family::AbsHigh,
            Self::Datadog => Family::Knuth,
        }
    }

    /// Whether it samples the trace at a ratio from 0 to 1. `None`: it throws (.NET up to 1.15.0 on one id in 2^64).
    pub fn decides(self, trace: TraceId, ratio: f64) -> Option<bool> {
        let (hi, lo) = halves(trace);
        Some(match self {
            Self::Go => ratio >= 1.0 || lo >> 1 < truncated(ratio * TWO_63),
            Self::GoOld => ratio >= 1.0 || hi >> 1 < truncated(ratio * TWO_63),
            Self::Python => is_below(lo, (ratio * TWO_64).round_ties_even()),
            Self::Ruby => is_below(lo, (ratio * TWO_64).ceil()),
            Self::Java => ratio > 0.0 && lo.cast_signed().wrapping_abs() < bound_63(ratio),
            // At 1 the bound is the integer 2^63 - 1, below it a float.
            Self::Erlang if ratio >= 1.0 => trace.0 != 0 && lo & LOW_63 < LOW_63,
            Self::Erlang => trace.0 != 0 && is_below(lo & LOW_63, ratio * TWO_63),
            Self::Jaeger => lo & LOW_63 <= truncated(ratio * TWO_63),
            Self::JsOld => trace.0 != 0 && u64::from(folded(trace)) < truncated(ratio * (TWO_32 - 1.0)),
            Self::Js => trace.0 != 0 && (ratio >= 1.0 || u64::from(folded(trace)) < truncated(ratio * (TWO_32 - 1.0))),
            Self::Php => Threshold::of(ratio).is_some_and(|threshold| threshold.rounded(4).admits(randomness(trace))),
            Self::PhpOld => ((lo & (u64::MAX >> 4)) as f64) < (ratio * TWO_60).round(),
            Self::Cpp => ratio > 0.0 && stretched(hi as f64 / TWO_64) <= stretched(ratio),
            Self::CppOld => ratio > 0.0 && stretched(hi.swap_bytes() as f64 / TWO_64) <= stretched(ratio),
            Self::DotNet => ratio > 0.0 && (hi & LOW_63).cast_signed() < bound_63(ratio),
            Self::DotNetOld => hi.cast_signed().checked_abs()? < bound_63(ratio),
            Self::Datadog => is_at_most(lo.wrapping_mul(KNUTH_FACTOR), ratio * TWO_64),
            Self::Composite => Threshold::of(ratio).is_some_and(|threshold| threshold.admits(randomness(trace))),
        })
    }
}

/// Whether the collector's `probabilistic_sampler` keeps a trace in the mode `hash_seed`; `percentage` of 100. Of its hash 14
/// bits count, so small percentages are never.
pub fn collector_hash_seed(trace: TraceId, seed: u32, percentage: f32) -> bool {
    // The product is one of single precision.
    u64::from(seeded_hash(trace, seed)) < truncated(f64::from(percentage * 163.84))
}

/// The 14 bits of it that count.
fn seeded_hash(trace: TraceId, seed: u32) -> u32 {
    let bytes = seed.to_le_bytes().into_iter().chain(trace.0.to_be_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash & 0x3fff
}

/// The salt of the collector's `tail_sampling` where none is set.
const TAIL_SALT: &str = "default-hash-seed";

/// Whether a `probabilistic` policy of the collector's `tail_sampling` keeps a trace; `percentage` of 100.
pub fn collector_tail(trace: TraceId, salt: &str, percentage: f64) -> bool {
    percentage > 0.0 && salted_hash(trace, salt) <= tail_bound(percentage)
}

fn salted_hash(trace: TraceId, salt: &str) -> u64 {
    let bytes = salt.bytes().chain(trace.0.to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// `(2^64 - 1) * percentage / 100`, cut, without the rounding of double precision: the collector computes it with big floats.
fn tail_bound(percentage: f64) -> u64 {
    if percentage >= 100.0 {
        return u64::MAX;
    }
    // 53 bits of mantissa times 64 bits fit into 128.
    let (mantissa, exponent) = parts(percentage / 100.0);
    let product = u128::from(mantissa).saturating_mul(u128::from(u64::MAX));
    u64::try_from(product.checked_shr(exponent).unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Mantissa and exponent of a fraction below one: `mantissa / 2^exponent`, exactly.
fn parts(fraction: f64) -> (u64, u32) {
    let bits = fraction.to_bits();
    let biased = u32::try_from(bits >> 52 & 0x7ff).unwrap_or_default();
    let mantissa = bits & ((1 << 52) - 1);
    if biased == 0 { (mantissa, 1074) } else { (mantissa | 1 << 52, 1075_u32.saturating_sub(biased)) }
}

/// A rejection threshold of consistent probability sampling: 56 bits, 0 admits everything (OpenTelemetry specification,
/// trace/tracestate-probability-sampling.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// One past the largest randomness.
    const END: u64 = 1 << 56;
    /// Hex digits of a threshold.
    const DIGITS: u32 = 14;

    /// That of a ratio from 0 to 1, in full precision; `None` where nothing is admitted.
    pub fn of(ratio: f64) -> Option<Self> {
        let accepted = truncated((ratio * Self::END as f64).round_ties_even());
        (accepted > 0).then(|| Self(Self::END.saturating_sub(accepted)))
    }

    /// The threshold with this many significant hex digits, not counting leading `f`s, rounded half up.
    #[must_use]
    pub fn rounded(self, digits: u32) -> Self {
        let leading = (!(self.0 << 8)).leading_zeros() / 4;
        self.cut_to(digits.saturating_add(leading))
    }

    /// The same as the collector rounds: leading zeros do not count either.
    #[must_use]
    pub fn rounded_as_collector(self, digits: u32) -> Self {
        let accepted = Self::END.saturating_sub(self.0);
        let leading = |number: u64| number.leading_zeros().saturating_sub(8) / 4;
        self.cut_to(digits.saturating_add(leading(accepted).max(leading(self.0))))
    }

    fn cut_to(self, digits: u32) -> Self {
        let cut = Self::DIGITS.saturating_sub(digits).saturating_mul(4);
        let half = (1 << cut) >> 1;
        Self(self.0.saturating_add(half) >> cut << cut)
    }

    /// Whether a trace of this randomness is sampled.
    pub fn admits(self, randomness: u64) -> bool {
        randomness >= self.0
    }

    /// The ratio that it stands for.
    pub fn ratio(self) -> f64 {
        Self::END.saturating_sub(self.0) as f64 / Self::END as f64
    }
}

impl fmt::Display for Threshold {
    /// As in `ot=th:`: hex digits without zeros at the end, `0` for everything.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        let digits = digits.trim_end_matches('0');
        formatter.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

/// The randomness of a trace without `ot=rv:`: the last 56 bits of its id.
pub fn randomness(trace: TraceId) -> u64 {
    halves(trace).1 & (Threshold::END - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "each half is what is wanted")]
fn halves(trace: TraceId) -> (u64, u64) {
    ((trace.0 >> 64) as u64, trace.0 as u64)
}

#[expect(clippy::cast_possible_truncation, reason = "each word is what is wanted")]
fn folded(trace: TraceId) -> u32 {
    let (hi, lo) = halves(trace);
    let both = hi ^ lo;
    (both >> 32) as u32 ^ both as u32
}

/// Towards zero, at most 2^64 - 1; nothing below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as these samplers need"
)]
fn truncated(number: f64) -> u64 {
    number as u64
}

/// `ratio * (2^63 - 1)` as C# and Java cast it: towards zero, at most 2^63 - 1.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as in those languages")]
fn bound_63(ratio: f64) -> i64 {
    (ratio * TWO_63) as i64
}

/// `number < bound`, exactly, where a double cannot hold the number.
fn is_below(number: u64, bound: f64) -> bool {
    bound >= TWO_64 || number < truncated(bound.ceil())
}

/// `number <= bound`, exactly.
fn is_at_most(number: u64, bound: f64) -> bool {
    bound >= TWO_64 || (bound >= 0.0 && number <= truncated(bound))
}

/// A ratio as a number of 64 bits, computed in two halves of 32 as opentelemetry-cpp does.
fn stretched(ratio: f64) -> u64 {
    if ratio <= 0.0 {
        return 0;
    }
    if ratio >= 1.0 {
        return u64::MAX;
    }
    let product = (TWO_32 - 1.0) * ratio;
    let low = product.fract() * TWO_32 + product;
    (truncated(product.trunc()) << 32).wrapping_add(truncated(low))
}
