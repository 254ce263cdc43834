//! Limits how fast somebody can guess a password: a few guesses without a wait, then increasingly long waits. Times are arguments,
//! measured from any fixed point in time.

use std::time::Duration;

/// The number of wrong guesses without a wait.
const FREE: u32 = 5;

/// The wait after the first wrong guess beyond [`FREE`]. It doubles with every further wrong guess.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The maximum wait.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// The wrong guesses since the last correct one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    wrong: u32,
    last: Duration,
}

impl Tries {
    /// Returns how much longer guesses are blocked, or `None` if they are allowed.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let beyond = self.wrong.checked_sub(FREE)?;
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_WAIT);
        (self.last + wait).checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Records a wrong guess.
    pub fn was_wrong(&mut self, now: Duration) {
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
    }

    /// Records a correct guess, which resets the count.
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
