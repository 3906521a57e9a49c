//! Something for each character: an array for the basic plane, where nearly all text is.

use rustc_hash::FxHashMap;

/// Characters of the basic plane.
const PLANE: usize = 1 << 16;

/// Values by character; those that were never set are the default.
pub struct CharMap<T> {
    plane: Vec<T>,
    others: FxHashMap<char, T>,
}

impl<T: Copy + Default + PartialEq> CharMap<T> {
    /// The default for all.
    pub fn new() -> Self {
        Self { plane: vec![T::default(); PLANE], others: FxHashMap::default() }
    }

    /// The value of a character.
    #[inline]
    pub fn get(&self, c: char) -> T {
        match self.plane.get(c as usize) {
            Some(&value) => value,
            None => self.others.get(&c).copied().unwrap_or_default(),
        }
    }

    /// The value of a character, to be changed.
    #[inline]
    pub fn get_mut(&mut self, c: char) -> &mut T {
        match self.plane.get_mut(c as usize) {
            Some(value) => value,
            None => self.others.entry(c).or_default(),
        }
    }

    /// Characters whose values are not the default, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (char, T)> {
        let plane =
            (0u32..).zip(&self.plane).filter_map(|(code, &value)| Some((char::from_u32(code)?, value)));
        let all = plane.chain(self.others.iter().map(|(&c, &value)| (c, value)));
        all.filter(|&(_, value)| value != T::default())
    }
}

impl<T: Copy + Default + PartialEq> FromIterator<(char, T)> for CharMap<T> {
    fn from_iter<I: IntoIterator<Item = (char, T)>>(values: I) -> Self {
        let mut map = Self::new();
        values.into_iter().for_each(|(c, value)| *map.get_mut(c) = value);
        map
    }
}
