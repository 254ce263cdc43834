//! How often somebody may guess: a few times at once, then ever more slowly.
//! Pure: times are arguments, measured from any fixed moment.

use std::time::Duration;

/// So many wrong guesses cost nothing but themselves.
const FREE: u32 = 5;

/// The wait after the first guess beyond those; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// The wrong guesses since the last right one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    wrong: u32,
    last: Duration,
}

impl Tries {
    /// How long nobody may guess yet; none if anybody may.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let beyond = self.wrong.checked_sub(FREE)?;
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_WAIT);
        (self.last + wait).checked_sub(now).filter(|left| !left.is_zero())
    }

    /// A guess was wrong.
    pub fn was_wrong(&mut self, now: Duration) {
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
    }

    /// A guess was right: all is forgotten.
    pub fn was_right(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_few_guesses_are_free_and_each_further_one_waits_longer() {
        let mut tries = Tries::default();
        for _ in 0..4 {
            tries.was_wrong(seconds(1));
            assert_eq!(tries.wait(seconds(1)), None);
        }
        tries.was_wrong(seconds(1));
        assert_eq!(tries.wait(seconds(1)), Some(seconds(10)));
        assert_eq!((tries.wait(seconds(10)), tries.wait(seconds(11))), (Some(seconds(1)), None));
        tries.was_wrong(seconds(11));
        assert_eq!(tries.wait(seconds(11)), Some(seconds(20)));
        for _ in 0..1000 {
            tries.was_wrong(seconds(20));
        }
        assert_eq!(tries.wait(seconds(20)), Some(seconds(900)));
        tries.was_right();
        assert_eq!(tries.wait(seconds(20)), None);
    }
}
