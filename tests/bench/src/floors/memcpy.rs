//! How fast memory is copied when it is in no cache.

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

/// Least and greatest size of a buffer.
const LEAST_BYTES: usize = 64 << 20;
const GREATEST_BYTES: usize = 512 << 20;

/// Two buffers of the same size.
#[derive(Debug)]
pub struct Copier {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Copier {
    /// Buffers of four times the last-level cache each, so that little of them is left in it when their turn comes.
    pub fn beyond_caches() -> Self {
        let cache = (0..8)
            .filter_map(|index| {
                let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
                cache_bytes(&fs::read_to_string(path).ok()?)
            })
            .max();
        Self::of(cache.map_or(LEAST_BYTES, |bytes| (4 * bytes).clamp(LEAST_BYTES, GREATEST_BYTES)))
    }

    /// Buffers of this many bytes.
    pub fn of(bytes: usize) -> Self {
        // Written once, so that the pages are there.
        Self { from: vec![1; bytes], to: vec![2; bytes] }
    }

    /// Copies the whole buffer, again and again, and returns how much was copied, in 10⁹ bytes per second.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn gb_per_s(&mut self, run: Duration) -> f64 {
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < run || bytes == 0 {
            self.to.copy_from_slice(black_box(&self.from));
            black_box(&self.to);
            bytes += self.from.len();
        }
        bytes as f64 / 1e9 / start.elapsed().as_secs_f64()
    }
}

/// Reads a size as the kernel writes it: `32768K`.
fn cache_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (text.strip_suffix('M')?, 1 << 20),
    };
    Some(number.parse::<usize>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Copier, cache_bytes};

    #[test]
    fn the_buffer_is_copied() {
        let mut copier = Copier::of(1 << 20);
        let speed = copier.gb_per_s(Duration::from_millis(1));
        assert!(speed.is_finite() && speed > 0.0, "{speed}");
        assert_eq!(copier.to, copier.from);
    }

    #[test]
    fn sizes_of_caches_are_read() {
        assert_eq!(cache_bytes("32768K\n"), Some(32 << 20));
        assert_eq!(cache_bytes("2M"), Some(2 << 20));
        assert_eq!(cache_bytes("unknown"), None);
    }
}
