//! Which instructions there are.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Instructions that int8 products are computed with; all give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// `vpdpbusd` on 64 bytes: four products and their sum in a step.
    Avx512Vnni,
    /// `vpmaddwd` on sixteen 16-bit numbers, which cannot overflow, as `vpmaddubsw` can.
    Avx2,
    /// `smull` and `sadalp`, on every 64-bit ARM.
    Neon,
    /// Plain Rust.
    Portable,
}

impl Kernel {
    const ALL: [Self; 4] = [Self::Avx512Vnni, Self::Avx2, Self::Neon, Self::Portable];

    /// The fastest this processor has.
    #[must_use]
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All that this processor has, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.exists()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn exists(self) -> bool {
        match self {
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx2")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Neon => false,
            Self::Portable => true,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn exists(self) -> bool {
        matches!(self, Self::Neon | Self::Portable)
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn exists(self) -> bool {
        self == Self::Portable
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for Kernel {
    type Err = Error;

    /// A kernel by its name, if this processor has it.
    fn from_str(name: &str) -> Result<Self> {
        let there = Self::available();
        there.iter().copied().find(|kernel| kernel.to_string() == name).ok_or_else(|| {
            let names: Vec<String> = there.iter().map(ToString::to_string).collect();
            Error::option("kernel", name, format!("this processor has {}", names.join(", ")))
        })
    }
}
