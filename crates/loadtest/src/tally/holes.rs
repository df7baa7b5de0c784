//! The numbers that a subscription has not received, though later ones have come.

use std::ops::Range;

/// Holes that are kept as ranges; many more are kept as bits, which take a bit for each publication and no more.
const RANGES_MAX: usize = 1_024;

const WORD_BITS: u32 = u64::BITS;

/// Numbers, none of which is forgotten. As good as always there are none.
#[derive(Debug, Clone)]
pub(super) enum Holes {
    /// In order.
    Ranges(Vec<Range<u32>>),
    /// A bit for each number from 0 on.
    Bits(Vec<u64>),
}

impl Default for Holes {
    fn default() -> Self {
        Self::Ranges(Vec::new())
    }
}

impl Holes {
    /// Takes numbers in that come after all others.
    pub(super) fn open(&mut self, numbers: Range<u32>) {
        match self {
            Self::Ranges(ranges) if ranges.len() < RANGES_MAX => ranges.push(numbers),
            Self::Ranges(ranges) => {
                let mut bits = Vec::new();
                ranges.drain(..).chain([numbers]).for_each(|range| set(&mut bits, range));
                *self = Self::Bits(bits);
            }
            Self::Bits(bits) => set(bits, numbers),
        }
    }

    /// Takes a number out; `false` if it was not in.
    pub(super) fn fill(&mut self, number: u32) -> bool {
        match self {
            Self::Ranges(ranges) => fill_range(ranges, number),
            Self::Bits(bits) => {
                let Some(word) = bits.get_mut((number / WORD_BITS) as usize) else { return false };
                let bit = 1 << (number % WORD_BITS);
                let was_in = *word & bit != 0;
                *word &= !bit;
                was_in
            }
        }
    }

    /// All of them, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let (ranges, bits) = match self {
            Self::Ranges(ranges) => (ranges.as_slice(), [].as_slice()),
            Self::Bits(bits) => ([].as_slice(), bits.as_slice()),
        };
        let in_word = |(at, word): (usize, &u64)| {
            let (first, word) = (at as u32 * WORD_BITS, *word);
            (0..WORD_BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| first + bit)
        };
        ranges.iter().cloned().flatten().chain(bits.iter().enumerate().flat_map(in_word))
    }
}

fn set(bits: &mut Vec<u64>, numbers: Range<u32>) {
    bits.resize(bits.len().max(numbers.end.div_ceil(WORD_BITS) as usize), 0);
    for number in numbers {
        bits[(number / WORD_BITS) as usize] |= 1 << (number % WORD_BITS);
    }
}

fn fill_range(ranges: &mut Vec<Range<u32>>, number: u32) -> bool {
    let at = ranges.partition_point(|range| range.end <= number);
    let Some(range) = ranges.get(at).filter(|range| range.contains(&number)).cloned() else { return false };
    let parts = [range.start..number, number + 1..range.end];
    ranges.splice(at..=at, parts.into_iter().filter(|part| !part.is_empty()));
    true
}
