//! Text -> hashed n-grams.

/// Odd and without pattern, so that the window's hash spreads over all bits.
const BASE: u64 = 0xD6E8_FEB8_6659_FD93;
const MIX: u64 = 0x9FB2_1C65_1E98_DF25;
/// Keeps a text that is shorter than the n-gram apart from a window of the same characters.
const SHORT: u64 = 0xA076_1D64_78BD_642F;

/// Hashes of all windows of `ngram` codes in order, repeated ones too; a shorter text is one window.
///
/// `each` is called with every hash while the next one is under way, which costs less than a second loop.
pub(super) fn hash_shingles(codes: &[u32], ngram: usize, hashes: &mut Vec<u64>, mut each: impl FnMut(u64)) {
    hashes.clear();
    let (first, rest) = codes.split_at(codes.len().min(ngram));
    let start = if codes.len() < ngram { SHORT } else { 0 };
    let append = |rolling: u64, code: &u32| rolling.wrapping_mul(BASE).wrapping_add(u64::from(*code));
    let mut rolling = first.iter().fold(start, append);
    hashes.push(mix(rolling));
    each(mix(rolling));
    let leaving_weight = (0..ngram).fold(1_u64, |weight, _| weight.wrapping_mul(BASE));
    hashes.extend(rest.iter().zip(codes).map(|(&entering, &leaving)| {
        // This does not wait for the window before: one multiplication a step in the chain.
        let change = u64::from(entering).wrapping_sub(u64::from(leaving).wrapping_mul(leaving_weight));
        rolling = rolling.wrapping_mul(BASE).wrapping_add(change);
        let hash = mix(rolling);
        each(hash);
        hash
    }));
}

/// Number of windows of a text.
pub(super) fn windows(codes: &[u32], ngram: usize) -> usize {
    (codes.len() + 1).saturating_sub(ngram).max(1)
}

/// The codes of the window that [`hash_shingles`] gave the hash of this position.
pub(super) fn window(codes: &[u32], ngram: usize, position: usize) -> &[u32] {
    &codes[position..codes.len().min(position + ngram)]
}

/// Spreads every bit over all bits.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(MIX);
    value ^ (value >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str, ngram: usize) -> Vec<u64> {
        let codes: Vec<u32> = text.chars().map(u32::from).collect();
        let mut hashes = Vec::new();
        hash_shingles(&codes, ngram, &mut hashes, |_| {});
        hashes
    }

    #[test]
    fn equal_windows_have_equal_hashes_wherever_they_stand() {
        let long = hashes("今天天气很好今天天气", 4);
        assert_eq!(long.len(), 7);
        assert_eq!(long[0], long[6]);
        assert_eq!(hashes("天气很好", 4), [long[2]]);
    }

    #[test]
    fn a_short_text_is_one_shingle_of_its_own() {
        assert_eq!(hashes("好", 5).len(), 1);
        assert_eq!(hashes("", 5).len(), 1);
        assert_ne!(hashes("今天", 5), hashes("今天", 2));
    }
}
